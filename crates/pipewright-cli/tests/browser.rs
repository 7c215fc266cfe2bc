//! The page of a run in a real browser: Chromium without a window, where there is one.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::pipewright;
use testing::{stderr, watchdog};

/// Reads from the laid-out page what a person would see, and writes it where `--dump-dom` shows it.
const MEASURE: &str = "<script>
    const charts = [...document.querySelectorAll('svg[role=img]')].map(svg => svg.getBoundingClientRect());
    const style = getComputedStyle(document.body);
    const fills = [...document.querySelectorAll('path.f-running')].map(path => path.getBBox());
    const texts = [...document.body.querySelectorAll('*')].filter(element =>
        !element.closest('svg, script') && element.getClientRects().length &&
        [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    const clipped = texts.filter(element => {
        const range = document.createRange();
        range.selectNodeContents(element);
        const box = range.getBoundingClientRect();
        const hides = getComputedStyle(element).overflowX !== 'visible';
        return box.right > innerWidth + 1 || box.left < -1 || hides && element.scrollWidth > element.clientWidth + 1;
    });
    document.body.dataset.seen = [
        'charts=' + charts.length,
        'flat=' + charts.filter(box => box.width < 100 || box.height < 10).length,
        'filled=' + fills.filter(box => box.width > 0 && box.height > 0).length,
        'dark=' + matchMedia('(prefers-color-scheme: dark)').matches,
        'paper=' + style.backgroundColor.replaceAll(' ', ''),
        'ink=' + style.color.replaceAll(' ', ''),
        'clipped=' + clipped.map(element => element.className + ':' + element.textContent.slice(0, 20)).join('/').replaceAll(/[^a-z0-9:/]/gi, '_'),
 'width=' + innerWidth,
        'wide=' + (document.documentElement.scrollWidth > innerWidth),
    ].join(' ') + '.';
    parent.postMessage(document.body.dataset.seen, '*');
</script></body>";

const CHROMIUM: [&str; 2] = ["chromium", "chromium-browser"];

/// Chromium on `PATH`. `None`, told in the test's output, if there is none.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| CHROMIUM.map(|name| directory.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        println!("SKIPPED: there is no chromium on PATH to show the page");
    }
    found
}

/// Opens a page; gives stdout and stderr.
fn open(chromium: &Path, home: &Path, page: &Path, arguments: &[&OsStr]) -> (String, String) {
    let (stdout, stderr) = (home.join("stdout"), home.join("stderr"));
    let file = |path| Stdio::from(fs::File::create(path).expect("a file of our own"));
    let mut child = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args(["--enable-logging=stderr", "--window-size=1200,1500"])
        .arg(format!(
            "--user-data-dir={}",
            home.join("profile").display()
        ))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(file(&stdout))
        .stderr(file(&stderr))
        .spawn()
        .expect("chromium is there");
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = child.try_wait().expect("it is ours to wait for") {
            assert!(status.success(), "chromium: {status}");
            break;
        }
        if Instant::now() > deadline {
            child.kill().expect("it is ours to end");
            panic!("chromium showed no page within two minutes");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let read =
        |path| String::from_utf8_lossy(&fs::read(path).expect("it was written")).into_owned();
    (read(stdout), read(stderr))
}

/// Pictures of a narrow page, for people who want to look for themselves.
fn keep(chromium: &Path, home: &Path, page: &Path, scheme: &OsStr, picture: &Path, dark: bool) {
    let Some(kept) = std::env::var_os("PIPEWRIGHT_KEEP_PAGES") else {
        return;
    };
    let shot = format!("--screenshot={}", picture.display());
    open(chromium, home, page, &[scheme, shot.as_ref()]);
    let kept = PathBuf::from(kept).join(format!("narrow-dark-{dark}.png"));
    fs::copy(picture, kept).expect("room for a picture");
}

#[test]
fn a_browser_shows_the_page_in_light_and_dark_without_an_error() {
    let _watchdog = watchdog();
    let Some(chromium) = chromium() else { return };
    let home = tempfile::tempdir().expect("a directory");
    let whole = home.path().join("report.html");
    let output = pipewright()
        .args(["run", "-q", "--report"])
        .arg(&whole)
        .arg("{ sleep 2; head -c 200M /dev/zero; } | gzip -1 '</script><b>\"' - 2>/dev/null | cat | cat | cat \
             | { cat; sleep 2; } >/dev/null")
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    assert_eq!(stderr(&output), "");
    let page = fs::read_to_string(&whole).expect("a page was written");
    assert!(page.contains("The bottleneck moved: ") && page.contains("class=\"overview\""));
    // The page lets no script in; the copy to be measured does.
    let measured = home.path().join("measured.html");
    let copy = page
        .replace("default-src 'none';", "")
        .replace("</body>", MEASURE);
    fs::write(&measured, copy).expect("room for a page");

    // A frame is as narrow as is asked for; a window may refuse to be.
    let narrow = home.path().join("narrow.html");
    let frame = format!(
        "<!DOCTYPE html><body style='margin:0'><iframe src='file://{}' style='border:0;width:400px;\
         height:3000px'></iframe><script>onmessage = message => document.body.dataset.seen = \
         message.data;</script></body>",
        measured.display()
    );
    fs::write(&narrow, frame).expect("room for a page");

    let mut papers = Vec::new();
    for (dark, scheme, opened) in [
        (false, "1", &measured),
        (true, "0", &measured),
        (false, "1", &narrow),
        (true, "0", &narrow),
    ] {
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        let scheme = OsStr::new(&scheme);
        let (dom, _) = open(
            &chromium,
            home.path(),
            opened,
            &[
                scheme,
                "--virtual-time-budget=3000".as_ref(),
                "--dump-dom".as_ref(),
            ],
        );
        let seen = dom
            .split("data-seen=\"")
            .nth(1)
            .expect("the page was measured");
        let seen = seen.split('.').next().unwrap_or_default();
        assert!(seen.starts_with("charts=22 flat=0 filled="), "{seen}");
        assert!(!seen.contains("filled=0"), "{seen}");
        assert!(seen.contains(&format!("dark={dark}")), "{seen}");
        assert!(seen.contains("wide=false"), "nothing sticks out: {seen}");
        assert!(seen.contains("clipped= "), "every text is whole: {seen}");
        if opened == &narrow {
            assert!(seen.contains("width=400 "), "{seen}");
            let shot = |name: &str| home.path().join(name);
            keep(
                &chromium,
                home.path(),
                opened,
                scheme,
                &shot("narrow.png"),
                dark,
            );
            continue;
        }
        papers.push(seen.split("paper=").nth(1).map(str::to_owned));

        let picture = home.path().join("picture.png");
        let shot = format!("--screenshot={}", picture.display());
        let (_, log) = open(&chromium, home.path(), &whole, &[scheme, shot.as_ref()]);
        assert!(!log.contains("CONSOLE"), "{log}");
        let picture = fs::read(&picture).expect("chromium made a picture");
        assert!(
            picture.starts_with(b"\x89PNG") && picture.len() > 20_000,
            "{}",
            picture.len()
        );
        // For people who want to look for themselves.
        if let Some(kept) = std::env::var_os("PIPEWRIGHT_KEEP_PAGES") {
            let kept = PathBuf::from(kept);
            fs::write(kept.join(format!("dark-{dark}.png")), &picture).expect("room for a picture");
            fs::write(kept.join("report.html"), &page).expect("room for a page");
        }
    }
    assert_ne!(papers[0], papers[1], "light and dark differ");
}
