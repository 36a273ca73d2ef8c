//! A run's page in a headless Chromium, which is told what to do over its debugging pipe. `scripts/test.sh` asks for one by
//! `CONVNET_BROWSER=required`; elsewhere these tests do nothing where there is none.

mod common;

use common::{Folder, classifier};
use convnet::device::philox::{Purpose, Stream};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A net that learns to tell the shapes of [`shapes`].
const NET: &str = classifier!(
    r#"
name = "small <net> & \"all\""
[data]
source = "shapes"
augment = { translate = 2, flip = true }
[train]
batch = 32
epochs = 6
log_every = 10
learning_rate = { schedule = "cosine", base = 0.02 }
[[layer]]
name = "conv1"
type = "conv"
filters = 12
size = 7
stride = 2
padding = 3
neuron = "relu"
init = "xavier"
[[layer]]
name = "pool1"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "conv2"
type = "conv"
filters = 16
size = 3
padding = 1
neuron = "relu"
init = "xavier"
[[layer]]
name = "pool2"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "fc1"
type = "fc"
outputs = 5
init = "xavier"
"#
);

const SHAPES: [&str; 5] = ["disc", "ring", "square", "cross", "stripes"];

/// Tar shards of JPEGs as large as CIFAR-10's: shapes of random colours, sizes and places on random ground. Every tenth test image
/// lies in the folder of another shape, so that a net which has learned has these wrong.
fn shapes(folder: &Path) {
    let mut random = Stream::new(1, Purpose::Data, 0, 0);
    let shard = |count: usize, mislabelled: bool, random: &mut Stream| {
        let mut builder = tar::Builder::new(Vec::new());
        for i in 0..count {
            let shape = i % SHAPES.len();
            let colours = [(); 2].map(|()| [(); 3].map(|()| random.below(256) as f64));
            let far = (0..3).any(|c| (colours[0][c] - colours[1][c]).abs() > 100.0);
            let colours = if far { colours } else { [[20.0; 3], [230.0; 3]] };
            let [x0, y0] = [(); 2].map(|()| 12.0 + 8.0 * random.uniform());
            let r = 7.0 + 4.0 * random.uniform();
            let picture = RgbImage::from_fn(32, 32, |x, y| {
                let (x, y) = ((f64::from(x) - x0).abs(), (f64::from(y) - y0).abs());
                let inside = match shape {
                    0 => x.hypot(y) < r,
                    1 => (0.55 * r..r).contains(&x.hypot(y)),
                    2 => x.max(y) < 0.85 * r,
                    3 => x.max(y) < r && x.min(y) < 0.25 * r,
                    _ => x.max(y) < r && ((y / 2.0) as u32).is_multiple_of(2),
                };
                Rgb(colours[usize::from(inside)].map(|v| (v + 12.0 * random.gaussian()) as u8))
            });
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
            let class = SHAPES[(shape + usize::from(mislabelled && i % 10 == 3)) % SHAPES.len()];
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.get_ref().len() as u64);
            builder.append_data(&mut header, format!("{class}/{i:04}.jpg"), &bytes.get_ref()[..]).unwrap();
        }
        builder.into_inner().unwrap()
    };
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("train-0.tar"), shard(1000, false, &mut random)).unwrap();
    std::fs::write(folder.join("test-0.tar"), shard(200, true, &mut random)).unwrap();
}

/// A browser with one page. It reads commands from descriptor 3 and writes to descriptor 4, a message ending in a zero byte.
struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    number: u64,
    session: String,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The browser's program: `CHROMIUM`, or one of the path.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).flat_map(|folder| names.map(|n| folder.join(n))).find(|p| p.is_file());
    let program = named.or(found);
    let required = std::env::var_os("CONVNET_BROWSER").is_some_and(|v| v == "required");
    assert!(program.is_some() || !required, "there is no chromium on the path; install it, or name it by CHROMIUM");
    program
}

impl Browser {
    fn open(program: &Path, profile: &Path, page: &Path) -> Self {
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1"#])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "--window-size=1240,1000"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let mut browser = Self { process, to, from, number: 0, session: String::new() };
        let target = browser.tell("Target.createTarget", json!({ "url": format!("file://{}", page.display()) }));
        let attached = browser.tell("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().into();
        let end = Instant::now() + Duration::from_secs(60);
        // Until it is there, the tab has an empty page, which is complete.
        while browser.value("document.URL.startsWith('file:') && document.readyState") != "complete" {
            assert!(Instant::now() < end, "the page does not load");
            std::thread::sleep(Duration::from_millis(50));
        }
        browser
    }

    /// Sends a command and waits for its answer.
    fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            assert_eq!(answer.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let answer = self.tell("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The middle of an element, scrolled to.
    fn middle(&mut self, selector: &str) -> (f64, f64) {
        let js = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center' }}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] }})()"
        );
        let at = self.value(&js);
        (at[0].as_f64().unwrap(), at[1].as_f64().unwrap())
    }

    fn pointer(&mut self, kind: &str, (x, y): (f64, f64)) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        self.tell("Input.dispatchMouseEvent", json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 }));
    }

    fn click(&mut self, selector: &str) {
        let at = self.middle(selector);
        self.pointer("mousePressed", at);
        self.pointer("mouseReleased", at);
    }

    /// What the window shows, as a PNG file.
    fn screenshot(&mut self, path: &Path) {
        use base64::Engine;
        let answer = self.tell("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The page of a run on pictures in tar shards: the pointer on a curve reads the metrics' own value, a click on an error shows it large with five bars
/// of which one is longest, nothing is asked of a network, no script fails, and a screenshot has colours.
#[test]
fn a_runs_page_is_read_and_clicked() {
    let Some(program) = program() else { return };
    let folder = Folder::new(NET);
    shapes(&folder.path("shapes"));
    folder.train(&[]).ended(0);
    folder.convnet(&["report", "run", "-o", "page.html", "--device", "cpu", "--threads", "1"]).ended(0);
    let text = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"), "the page is to stand alone");
    let mut browser = Browser::open(&program, &folder.path("profile"), &folder.path("page.html"));
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "small <net> & \"all\"");

    // The last test's error, read off the curve.
    let lines = convnet::train::read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    let last = lines.iter().rfind(|l| l.split == convnet::train::Split::Test).unwrap();
    let middle = browser.middle("#error svg");
    let right = browser.value("document.querySelector('#error svg').getBoundingClientRect().right").as_f64().unwrap();
    browser.pointer("mouseMoved", (right - 12.0, middle.1));
    let read = browser.value("document.querySelector('#error output').innerText");
    let wanted = format!("test {}", (last.error * 1e4).round() / 100.0);
    assert!(read.as_str().unwrap().contains(&wanted), "{read} has not {wanted}");
    assert_eq!(browser.value("document.querySelector('#error output').style.visibility"), "visible");
    assert_eq!(browser.value("document.querySelectorAll('#loss polyline').length"), 2);

    // An error, clicked.
    assert_eq!(browser.value("document.querySelector('dialog').open"), false);
    browser.click("#errors .wrong button");
    assert_eq!(browser.value("document.querySelector('dialog').open"), true);
    let title = browser.value("document.querySelector('dialog h3').textContent");
    let (class, taken) = title.as_str().unwrap().split_once(", taken for ").unwrap_or_else(|| panic!("{title}"));
    assert!(SHAPES.contains(&class) && SHAPES.contains(&taken) && class != taken, "{title}");
    let origin = browser.value("document.querySelector('dialog p').textContent");
    assert!(
        origin.as_str().unwrap().starts_with(&format!("{class}/")) && origin.as_str().unwrap().contains("test-0.tar"),
        "{origin}"
    );
    let bars = browser.value("[...document.querySelectorAll('dialog td i')].map(i => i.getBoundingClientRect().width)");
    let bars: Vec<f64> = bars.as_array().unwrap().iter().map(|b| b.as_f64().unwrap()).collect();
    let shares = browser.value("JSON.parse(document.querySelector('#errors .wrong button').dataset.detail).top.map(t => t[1])");
    let shares: Vec<f64> = shares.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
    let full = browser.value("document.querySelector('dialog td:nth-child(2)').getBoundingClientRect().width").as_f64().unwrap();
    assert!(bars.len() == 5 && full > 100.0 && shares.is_sorted_by(|a, b| a >= b), "{bars:?} of {full}");
    for (bar, share) in bars.iter().zip(&shares) {
        // A bar is at least a pixel wide, and the cell has a little room beside it.
        assert!((bar - share * full).abs() < 3.0, "a bar of {bar} for {share} of {full}");
    }
    assert_eq!(browser.value("document.querySelector('dialog img').naturalWidth"), 32);

    let shot = folder.path("page.png");
    browser.screenshot(&shot);
    let picture = image::open(&shot).unwrap().to_rgb8();
    let colours: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(picture.width() > 1000 && colours.len() > 50, "{} wide, {} colours", picture.width(), colours.len());
}
