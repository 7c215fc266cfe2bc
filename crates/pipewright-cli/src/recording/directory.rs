//! The directory of a recording: its files, its locks, and how they are written.
//!
//! Each file is written beside, brought to the disk and renamed, so that a crash at any moment leaves
//! the old one or the new one. `lock` belongs to the run or whoever resumes it, `stage-1.lock` to the
//! keeper of stage 1, which goes on when its run is killed.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use pipewright_spool::{Directory as SpoolDirectory, Spool};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::recording::manifest::{Contents, Ended, Manifest, VERSION};

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "lock";

/// A recording that this process has for itself.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
    /// Its directory was made for it.
    is_new: bool,
    _lock: File,
}

impl Recording {
    /// Makes a new one. Nothing may be there yet.
    pub(crate) fn create(path: &Path, manifest: Manifest) -> anyhow::Result<Self> {
        let shown = path.display();
        let is_free = |path: &Path| {
            anyhow::ensure!(
                !is_recording(path),
                "{shown} holds a recording: `pipewright resume {shown}` goes on with it; for a new one \
                 give another directory, or remove this one"
            );
            Ok(())
        };
        is_free(path)?;
        let context = || format!("cannot make a recording in {shown}");
        let is_new = match std::fs::create_dir(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error).with_context(context),
        };
        let path = path.canonicalize().with_context(context)?;
        for entry in std::fs::read_dir(&path).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            // What a start left that was killed.
            let name = name.to_string_lossy();
            if !(name.ends_with("lock") || name.ends_with(".new")) {
                anyhow::bail!(
                    "{shown} holds files that are no recording's ({name}): give an empty directory, or \
                     one that does not exist"
                );
            }
        }
        let lock = match taken(&path) {
            Ok(lock) => lock,
            Err(error) => {
                if is_new {
                    // Where somebody else has begun there, it is not empty.
                    let _ = std::fs::remove_dir(&path);
                }
                return Err(error);
            }
        };
        // Somebody may have been here before the lock was.
        is_free(&path)?;
        let recording = Self {
            path,
            manifest,
            is_new,
            _lock: lock,
        };
        let made = || {
            for stage in 1..=recording.manifest.stages.len() {
                lock_file(&stage_lock(&recording.path, stage))?;
            }
            recording.write()?;
            sync_directory(above(&recording.path))
        };
        if let Err(error) = made() {
            recording.discard();
            return Err(error).with_context(context);
        }
        Ok(recording)
    }

    /// Removes one that nothing has been recorded in.
    pub(crate) fn discard(&self) {
        let stages = 1..=self.manifest.stages.len();
        let has_begun = stages.clone().any(|stage| {
            self.path.join(stage_name(stage)).exists() || link_path(&self.path, stage - 1).exists()
        });
        if has_begun {
            return;
        }
        let locks = stages.map(|stage| stage_lock(&self.path, stage));
        let names = [
            MANIFEST.to_owned(),
            format!("{MANIFEST}.new"),
            LOCK.to_owned(),
        ];
        let all = locks.chain(names.iter().map(|name| self.path.join(name)));
        // What cannot be removed is in nobody's way: the next start takes it over.
        all.for_each(|path| drop(std::fs::remove_file(path)));
        if self.is_new {
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Opens one to go on with it. No other may do so, and no stage of it may still run.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        // Looked at first, for a lock is not made where there is no recording.
        read_manifest(path)?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot open {}", path.display()))?;
        let lock = taken(&path)?;
        let manifest = read_manifest(&path)?;
        for stage in 1..=manifest.stages.len() {
            let file = lock_file(&stage_lock(&path, stage));
            let file = file.with_context(|| format!("cannot open {}", path.display()))?;
            if matches!(lock_soon(&file), Err(TryLockError::WouldBlock)) {
                anyhow::bail!(
                    "stage {stage} of the recording in {} still runs, although its run was killed: wait \
                     until it has ended, or end it",
                    path.display()
                );
            }
        }
        let recording = Self {
            path,
            manifest,
            is_new: false,
            _lock: lock,
        };
        for link in 0..recording.manifest.stages.len() {
            let half = recording.path.join(format!("link-{link}.gone"));
            gone(std::fs::remove_dir_all(&half))
                .with_context(|| format!("cannot remove {}", half.display()))?;
        }
        Ok(recording)
    }

    /// Writes the manifest as it is now.
    pub(crate) fn write(&self) -> io::Result<()> {
        write(&self.path, MANIFEST, &self.manifest)
    }

    /// How the stages ended that have done so, by their numbers.
    pub(crate) fn ends(&self) -> anyhow::Result<BTreeMap<usize, Ended>> {
        let stages = 1..=self.manifest.stages.len();
        let ends = stages.map(|stage| Ok((stage, stage_end(&self.path, stage)?)));
        let ends: anyhow::Result<Vec<_>> = ends.collect();
        Ok(ends?
            .into_iter()
            .filter_map(|(stage, end)| Some((stage, end?)))
            .collect())
    }

    /// What the recorded links hold, by their numbers. What a killed keeper left is taken in.
    pub(crate) fn contents(&self) -> anyhow::Result<BTreeMap<usize, Contents>> {
        let mut all = BTreeMap::new();
        for &link in &self.manifest.links {
            let path = link_path(&self.path, link);
            if !path.exists() {
                continue;
            }
            let context = || format!("cannot read link {link} of {}", self.path.display());
            let view = SpoolDirectory::open_to_read(&path).and_then(Spool::view);
            // One that was killed before it had made its files holds nothing.
            let is_new = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            if is_new {
                continue;
            }
            let spool = view.with_context(context)?;
            let progress = spool.progress();
            let crc32c = spool.checksum().with_context(context)?;
            let contents = Contents {
                bytes: progress.committed,
                crc32c,
                complete: progress.complete.is_some(),
            };
            all.insert(link, contents);
        }
        Ok(all)
    }

    /// Forgets how a stage ended, and what a link carried: they come anew.
    pub(crate) fn forget(&self, stage: usize, link: Option<usize>) -> anyhow::Result<()> {
        let context = || format!("cannot change {}", self.path.display());
        let end = self.path.join(stage_name(stage));
        gone(std::fs::remove_file(end)).with_context(context)?;
        if let Some(link) = link {
            // At once: half of a link would be a damaged one.
            let gone_path = self.path.join(format!("link-{link}.gone"));
            gone(std::fs::rename(link_path(&self.path, link), &gone_path)).with_context(context)?;
            gone(std::fs::remove_dir_all(&gone_path)).with_context(context)?;
        }
        sync_directory(&self.path).with_context(context)
    }
}

/// The place of one stage, held as long as its keeper lives.
#[derive(Debug)]
pub(crate) struct Seat {
    path: PathBuf,
    stage: usize,
    _lock: File,
}

impl Seat {
    /// Takes it, for this attempt and no later one.
    pub(crate) fn take(path: &Path, stage: usize, attempt: u32) -> anyhow::Result<Self> {
        let context = || format!("cannot open {}", path.display());
        let lock = lock_file(&stage_lock(path, stage)).with_context(context)?;
        let shown = path.display();
        if let Err(error) = lock_soon(&lock) {
            anyhow::bail!("stage {stage} of the recording in {shown} runs already: {error}");
        }
        if read_manifest(path)?.attempt != attempt {
            anyhow::bail!("the recording in {shown} was resumed by somebody else meanwhile");
        }
        Ok(Self {
            path: path.to_owned(),
            stage,
            _lock: lock,
        })
    }

    /// Writes down how the stage ended.
    pub(crate) fn write(&self, ended: &Ended) -> io::Result<()> {
        write(&self.path, &stage_name(self.stage), ended)
    }

    /// Waits until the stage before this one has ended, and tells how, if that was written down.
    pub(crate) fn await_producer(&self) -> Option<Ended> {
        let producer = self.stage.checked_sub(1).filter(|stage| *stage > 0)?;
        let lock = File::open(stage_lock(&self.path, producer)).ok()?;
        lock.lock_shared().ok()?;
        stage_end(&self.path, producer).ok()?
    }
}

/// Reads the manifest of the recording in a directory.
pub(crate) fn read_manifest(path: &Path) -> anyhow::Result<Manifest> {
    let shown = path.display();
    let Some(manifest) = read::<Manifest>(&path.join(MANIFEST))? else {
        anyhow::bail!(
            "{shown} holds no recording: give the DIR of a `pipewright run --record DIR`"
        );
    };
    if manifest.version != VERSION {
        anyhow::bail!(
            "the recording in {shown} has form {}, and this pipewright knows form {VERSION}: use the \
             one that made it, {}",
            manifest.version,
            manifest.pipewright_version
        );
    }
    if manifest.stages.is_empty() {
        anyhow::bail!("the recording in {shown} has no stages: its manifest was changed");
    }
    Ok(manifest)
}

/// Tells whether a directory holds a recording.
pub(crate) fn is_recording(path: &Path) -> bool {
    path.join(MANIFEST).exists()
}

/// Where the spool of a link lies.
pub(crate) fn link_path(recording: &Path, link: usize) -> PathBuf {
    recording.join(format!("link-{link}"))
}

fn stage_end(recording: &Path, stage: usize) -> anyhow::Result<Option<Ended>> {
    read(&recording.join(stage_name(stage)))
}

fn stage_name(stage: usize) -> String {
    format!("stage-{stage}.json")
}

fn stage_lock(recording: &Path, stage: usize) -> PathBuf {
    recording.join(format!("stage-{stage}.lock"))
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Locks a file. Whoever was killed while it started a process has left the lock to that process until it
/// executes its program.
fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + Duration::from_millis(300);
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            locked => return locked,
        }
    }
}

fn taken(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let lock = lock_file(&path.join(LOCK)).with_context(|| format!("cannot open {shown}"))?;
    match lock_soon(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another process is running or resuming the recording in {shown}: wait until it has ended"
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {shown}"))
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let context = || format!("cannot make sense of {}", path.display());
    let mut value: Value = serde_json::from_slice(&text).with_context(context)?;
    let sum = value.as_object_mut().and_then(|it| it.remove(CHECKSUM));
    // Another form may have none.
    let is_other = value.get("version").is_some_and(|it| *it != VERSION);
    if !is_other && sum != Some(checksum(&value)?) {
        anyhow::bail!(
            "{} is damaged, or was changed: its checksum is not that of what it says",
            path.display()
        );
    }
    serde_json::from_value(value)
        .map(Some)
        .with_context(context)
}

/// The name of the field that has the checksum of all the others.
const CHECKSUM: &str = "crc32c";

/// The checksum of a value, whose fields have no order here.
fn checksum(value: &Value) -> serde_json::Result<Value> {
    Ok(crc32c::crc32c(&serde_json::to_vec(value)?).into())
}

/// Only for its owner: variables and arguments may be secrets.
fn write(directory: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let beside = directory.join(format!("{name}.new"));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    let mut value = serde_json::to_value(value)?;
    let sum = checksum(&value)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert(CHECKSUM.to_owned(), sum);
    }
    let mut text = serde_json::to_vec_pretty(&value)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&beside, directory.join(name))?;
    sync_directory(directory)
}

/// Brings the names in a directory to the disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that a path lies in.
pub(crate) fn above(path: &Path) -> &Path {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.unwrap_or(Path::new("."))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
