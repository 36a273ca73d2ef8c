//! A run's page in a headless Chromium, which is told what to do over its debugging pipe. `scripts/test.sh` asks for one by
//! `CONVNET_BROWSER=required`; elsewhere these tests do nothing where there is none.

mod common;

use common::Folder;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A net of four tests over 6,000 digits that has some wrong.
const NET: &str = r#"
name = "small <net> & \"all\""
[data]
source = "mnist-10k"
train_images = 2000
test_images = 500
[train]
batch = 50
epochs = 4
log_every = 10
learning_rate = { schedule = "cosine", base = 0.02 }
[[layer]]
name = "conv1"
type = "conv"
filters = 8
size = 5
stride = 2
neuron = "relu"
init = "xavier"
[[layer]]
name = "fc1"
type = "fc"
outputs = 10
init = "xavier"
[[layer]]
name = "probabilities"
type = "softmax"
[[layer]]
name = "cost"
type = "logistic-regression"
"#;

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

/// The page of a run: the pointer on a curve reads the metrics' own value, a click on an error shows it large with five bars
/// of which one is longest, nothing is asked of a network, no script fails, and a screenshot has colours.
#[test]
fn a_runs_page_is_read_and_clicked() {
    let Some(program) = program() else { return };
    let folder = Folder::new(NET);
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
    assert!(title.as_str().unwrap().contains(", taken for "), "{title}");
    let bars = browser.value("[...document.querySelectorAll('dialog td i')].map(i => i.getBoundingClientRect().width)");
    let bars: Vec<f64> = bars.as_array().unwrap().iter().map(|b| b.as_f64().unwrap()).collect();
    assert!(bars.len() == 5 && bars[0] > 20.0 && bars.is_sorted_by(|a, b| a >= b), "{bars:?}");
    assert_eq!(browser.value("document.querySelector('dialog img').naturalWidth"), 28);

    let shot = folder.path("page.png");
    browser.screenshot(&shot);
    let picture = image::open(&shot).unwrap().to_rgb8();
    let colours: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(picture.width() > 1000 && colours.len() > 50, "{} wide, {} colours", picture.width(), colours.len());
}
