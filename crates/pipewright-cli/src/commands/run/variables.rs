//! The variables that bash sets for the programs that it starts.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What bash makes of the SHLVL that it finds: it counts itself, and no longer where it becomes the only
/// program.
pub(super) fn level(found: Option<&str>, is_only: bool) -> i64 {
    let found = found.and_then(|level| level.trim().parse().ok());
    let adjusted = |level: i64, change| match level.saturating_add(change) {
        ..0 => 0,
        1000.. => 1,
        level => level,
    };
    let level = adjusted(found.unwrap_or(0), 1);
    if is_only { adjusted(level, -1) } else { level }
}

/// What bash sets PWD to; `None`: what it finds there is right, or nobody knows what is.
pub(super) fn directory(found: Option<&OsStr>) -> Option<PathBuf> {
    let place = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    let here = place(Path::new("."));
    let is_here = |path: &Path| path.is_absolute() && here.is_some() && place(path) == here;
    if found.map(Path::new).is_some_and(is_here) {
        return None;
    }
    std::env::current_dir().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_more_within_the_bounds_that_bash_has() {
        for (found, among_others, alone) in [
            (None, 1, 0),
            (Some(""), 1, 0),
            (Some("none"), 1, 0),
            (Some("7"), 8, 7),
            (Some("-5"), 0, 0),
            (Some("998"), 999, 998),
            (Some("999"), 1, 0),
            (Some("99999999999999999999"), 1, 0),
        ] {
            assert_eq!(level(found, false), among_others, "{found:?}");
            assert_eq!(level(found, true), alone, "{found:?}");
        }
    }

    #[test]
    fn a_pwd_is_set_where_it_does_not_lead_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(directory(Some(here.as_os_str())), None);
        for wrong in [None, Some("/no/such"), Some("/"), Some(".")] {
            assert_eq!(directory(wrong.map(OsStr::new)), Some(here.clone()));
        }
    }
}
