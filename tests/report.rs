//! What is to be seen of runs: the page of one (tests/browser.rs looks at it in a browser), several compared, one that trains,
//! TensorBoard's events; and what looks for a learning rate and for what is wrong.

mod common;

use common::{Folder, RESUME, SMALL};
use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::net::Graph;
use convnet::report::{diagram, study};
use convnet::train::{Line, Split, read_lines};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How often a piece of text is in another.
fn count(text: &str, piece: &str) -> usize {
    text.matches(piece).count()
}

/// A run of 40 steps of the small net, two tests and a line of weights before each.
fn trained() -> Folder {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "2", "--set", "train.test_every=20"]).ended(0);
    folder
}

/// The page has every part: curves, weights by layer, errors with as many pictures as the test has errors (or 24), a matrix
/// of 10 classes whose rows add up to the test images, filters, hidden units and a box for each layer.
#[test]
fn the_page_has_every_part() {
    let folder = trained();
    let done = folder.convnet(&["report", "run", "--device", "cpu", "--threads", "1"]).ended(0);
    assert_eq!(done.stdout.trim(), "run/report.html");
    let page = std::fs::read_to_string(folder.path("run/report.html")).unwrap();
    for id in ["loss", "error", "learning-rate", "speed", "weights", "updates", "ratios"] {
        assert_eq!(count(&page, &format!("class=\"chart\" id=\"{id}\"")), 1, "{id}");
    }
    let test: Value =
        serde_json::from_str(&folder.convnet(&["test", "run", "--json", "--device", "cpu"]).ended(0).stdout).unwrap();
    let wrong = (test["error"].as_f64().unwrap() * 100.0).round() as usize;
    assert_eq!(count(&page, "data-detail="), wrong.min(24), "{wrong} of 100 are wrong");
    assert!(page.contains(&format!("{wrong} of 100 test images are taken for another class")));
    let matrix = &page[page.find("<table class=\"confusion\"").unwrap()..];
    let matrix = &matrix[..matrix.find("</table>").unwrap()];
    let cells = matrix.split("<td class=\"").skip(1).map(|c| &c[c.find('>').unwrap() + 1..c.find("</td>").unwrap()]);
    let cells: Vec<&str> = cells.collect();
    assert_eq!(cells.len(), 10 * 11, "ten classes, and each one's error");
    assert_eq!(cells.iter().filter_map(|c| c.parse::<usize>().ok()).sum::<usize>(), 100);
    assert_eq!((count(&page, "alt=\"filters of"), count(&page, "alt=\"hidden units of")), (1, 1));
    for layer in ["images", "conv1", "pool1", "drop1", "fc1", "probabilities", "cost"] {
        assert!(page.contains(&format!(">{layer}</text>")), "{layer}");
    }
    assert_eq!(count(&page, "<path class=\"edge\""), 6, "a chain of seven boxes");
    assert!(!page.contains("NaN") && !page.contains("{{") && !page.contains("{%"));
}

/// A run whose images are gone still has its curves and filters, and the page says why there is no more.
#[test]
fn a_run_without_its_images_has_a_page() {
    let folder = trained();
    let config = folder.path("run/config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("\"mnist-10k\"", "\"/nowhere/to/be/found\"");
    std::fs::write(&config, text).unwrap();
    let done = folder.convnet(&["report", "run", "-o", "page.html", "--device", "cpu"]).ended(0);
    assert!(done.stderr.contains("warning: the page has no errors"), "{}", done.stderr);
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.contains("could not be tested") && page.contains("/nowhere/to/be/found") && page.contains("alt=\"filters of"));
    folder.convnet(&["report", "nothing"]).failed(1, &["nothing", "no folder"]);
}

/// Nets that are no chains are drawn, too, with an edge for each input that is a layer or the images, and no box over another.
/// What a Siamese net makes of an image is no class.
#[test]
fn nets_of_any_form_are_drawn() {
    for name in ["resnet-18", "googlenet", "siamese", "two-scale"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/{name}.toml"));
        let spec = NetSpec::load(&path, &[]).unwrap();
        let shape = match name {
            "siamese" => Shape::new(1, 28, 28, 2),
            "two-scale" => Shape::new(1, 28, 28, 1),
            _ => Shape::new(1, 224, 224, 3),
        };
        let graph = Graph::new(&spec, shape, 2).unwrap();
        let prediction = graph.prediction().unwrap();
        assert_eq!(study::classifies(&graph, prediction), name != "siamese", "{name}");
        let svg = diagram::svg(&graph).unwrap();
        let riding = graph.nodes.iter().filter(|n| n.name.ends_with(".neuron")).count();
        assert_eq!(count(&svg, "<rect"), 1 + graph.nodes.len() - riding, "{name}");
        assert!(count(&svg, "<path") >= graph.nodes.len() - riding, "{name}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        // No two boxes lie over one another.
        let number = |tag: &str, key: &str| -> f64 {
            let from = tag.find(&format!(" {key}=\"")).unwrap() + key.len() + 3;
            tag[from..].split('"').next().unwrap().parse().unwrap()
        };
        let boxes: Vec<(f64, f64)> = svg.split("<rect").skip(1).map(|r| (number(r, "x"), number(r, "y"))).collect();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[..i] {
                assert!((a.0 - b.0).abs() >= 176.0 || (a.1 - b.1).abs() >= 46.0, "{name}: {a:?} and {b:?}");
            }
        }
    }
}

/// `find-lr` goes down from a rate at which the loss diverges; what it picks is what its table says is least, and trains.
#[test]
fn find_lr_halves_until_the_loss_falls() {
    let folder = Folder::new(SMALL);
    let more = ["--from", "64", "--steps", "40", "--json", "--device", "cpu", "--threads", "1"];
    let done = folder.convnet(&[&["find-lr", "net.toml"], &more[..]].concat()).ended(0);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let tried = found["tried"].as_array().unwrap();
    let rates: Vec<f64> = tried.iter().map(|t| t["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates[0] == 64.0 && rates.windows(2).all(|w| w[1] == w[0] / 2.0), "{rates:?}");
    assert_eq!(tried[0]["diverged"], true, "{found:#}");
    let loss = |t: &Value| t["last_loss"].as_f64().unwrap_or(f64::INFINITY);
    let best = tried.iter().find(|t| t["learning_rate"] == found["learning_rate"]).unwrap();
    assert!(best["diverged"] == false && loss(best) < 0.7 * best["first_loss"].as_f64().unwrap(), "{found:#}");
    // A try that is better by less than 2 % does not count.
    assert!(tried.iter().filter(|t| t["diverged"] == false).all(|t| loss(best) < 1.03 * loss(t)), "{found:#}");
    let rate = format!("train.learning_rate.base={}", found["learning_rate"]);
    folder.train(&["--set", &rate, "--set", "train.steps=5"]).ended(0);
    folder.convnet(&["find-lr", "net.toml", "--from", "0"]).ended(2);
    folder.convnet(&["find-lr", "net.toml", "--steps", "1"]).ended(2);
}

/// `diagnose` asks each question of the tutorial's list; on a run whose rate was far too large it has bad signs, on one that
/// learns none.
#[test]
fn diagnose_tells_a_good_run_from_a_bad_one() {
    let folder = trained();
    let diagnose = |run: &str, more: &[&str]| -> Value {
        let done = folder.convnet(&[&["diagnose", run, "--json", "--device", "cpu", "--threads", "1"], more].concat()).ended(0);
        serde_json::from_str(&done.stdout).unwrap()
    };
    let good = diagnose("run", &[]);
    assert_eq!(good["bad"], 0, "{good:#}");
    let answers = good["checked"].as_array().unwrap();
    assert_eq!(answers.len(), 9, "{good:#}");
    let level = |about: &str| {
        let signs = answers.iter().flat_map(|c| c["signs"].as_array().unwrap());
        signs.filter(|s| s["about"] == about).map(|s| s["level"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((level("loss"), level("gradients"), level("predictions")), (vec!["good"], vec!["good"], vec!["good"]));
    assert_eq!(level("a few images").len(), 1);

    let spoiled =
        ["train", "net.toml", "--out", "spoiled", "--epochs", "2", "--device", "cpu", "--set", "train.learning_rate.base=1.5"];
    folder.convnet(&spoiled);
    let bad = diagnose("spoiled", &["--quick"]);
    assert!(bad["bad"].as_u64().unwrap() > 0, "{bad:#}");
    assert_eq!(bad["checked"].as_array().unwrap().len(), 7);
}

/// `compare` has a row for each run with its own last metrics, and a page with a line for each in every chart.
#[test]
fn compare_lays_runs_over_each_other() {
    let folder = trained();
    folder.convnet(&["train", "net.toml", "--out", "b<i>", "--epochs", "1", "--device", "cpu", "--seed", "9"]).ended(0);
    let done = folder.convnet(&["compare", "run", "b<i>", "--json", "-o", "both.html"]).ended(0);
    let rows: Value = serde_json::from_str(&done.stdout).unwrap();
    for (i, run) in ["run", "b<i>"].into_iter().enumerate() {
        let lines = read_lines(&folder.path(run).join("metrics.jsonl")).unwrap();
        let last = lines.iter().rfind(|l| l.split == Split::Test).unwrap();
        assert_eq!((&rows[i]["run"], rows[i]["test_error"].as_f64()), (&Value::from(run), Some(last.error)));
    }
    let page = std::fs::read_to_string(folder.path("both.html")).unwrap();
    assert!(page.contains("b&#60;i&#62;") && !page.contains("b<i>"), "names are text");
    assert_eq!((count(&page, "class=\"chart\""), count(&page, "<polyline")), (7, 14));
    folder.convnet(&["compare", "run", "nothing"]).failed(1, &["nothing", "no folder"]);
}

/// `watch` serves the page of a run on this machine, another version once there is a new line, and nothing to a browser that
/// was led here by another name.
#[test]
fn watch_serves_the_newest_page() {
    let folder = trained();
    let mut process = common::command(&folder.path("."), &["watch", "run", "--port", "0"]).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let address = told.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let ask = |path: &str, host: &str| -> String {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (page, before) = (ask("/", &address), ask("/version", &address));
    let (stranger, nothing) = (ask("/", "example.org"), ask("/run", &address));
    let metrics = folder.path("run/metrics.jsonl");
    let text = std::fs::read_to_string(&metrics).unwrap();
    std::fs::write(&metrics, format!("{text}{}\n", text.lines().last().unwrap())).unwrap();
    let after = ask("/version", &address);
    // Half a line, as it is while it is being written: the page before is there still.
    std::fs::write(&metrics, format!("{text}{{\"step\"")).unwrap();
    let half = ask("/", &address);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{told}");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("id=\"loss\"") && page.contains("class=\"live\""), "{page:.500}");
    assert!(half.contains("id=\"loss\""), "{half:.500}");
    assert!(stranger.starts_with("HTTP/1.1 403") && !stranger.contains("small"), "{stranger}");
    assert!(nothing.starts_with("HTTP/1.1 404") && before != after, "{nothing} {before} {after}");
}

/// What a record of an event file has, by TensorFlow's description of the format and of event.proto, read by hand.
fn events(bytes: &[u8]) -> Vec<(i64, Vec<(String, f32)>)> {
    let crc = |bytes: &[u8]| {
        let crc = !bytes.iter().fold(u32::MAX, |crc, &b| {
            (0..8).fold(crc ^ u32::from(b), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
        });
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let sum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let data = &rest[12..12 + length];
        assert_eq!((sum(8), sum(12 + length)), (crc(&rest[..8]), crc(data)), "checksums");
        let (mut step, mut values) = (0, Vec::new());
        for (field, value) in fields(data) {
            match field {
                2 => step = value.1 as i64,
                5 => {
                    for (_, one) in fields(value.0) {
                        let parts = fields(one.0);
                        let tag = String::from_utf8(parts[0].1.0.to_vec()).unwrap();
                        values.push((tag, f32::from_bits(parts[1].1.1 as u32)));
                    }
                }
                _ => {}
            }
        }
        found.push((step, values));
        rest = &rest[16 + length..];
    }
    found
}

/// The fields of a protobuf message: number, and bytes or number.
fn fields(mut data: &[u8]) -> Vec<(u64, (&[u8], u64))> {
    let mut found = Vec::new();
    let varint = |data: &mut &[u8]| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return value;
            }
        }
    };
    while !data.is_empty() {
        let key = varint(&mut data);
        let value = match key & 7 {
            0 => (&data[..0], varint(&mut data)),
            kind => {
                let length = match kind {
                    1 => 8,
                    2 => varint(&mut data) as usize,
                    _ => 4,
                };
                let (bytes, rest) = data.split_at(length);
                data = rest;
                let number = if length <= 8 { bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)) } else { 0 };
                (bytes, number)
            }
        };
        found.push((key >> 3, value));
    }
    found
}

/// With `--tensorboard` the event file has every line of the metrics with its values, also after the run was stopped and
/// resumed; without it there is none.
#[test]
fn events_have_what_the_metrics_have() {
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1", "--tensorboard"]).ended(0);
    let path = folder.path("run/tensorboard/events.out.tfevents.convnet");
    let check = || {
        let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
        let events = events(&std::fs::read(&path).unwrap());
        assert_eq!(events.len(), lines.len() + 1, "the first says which format it is");
        for (line, (step, values)) in lines.iter().zip(&events[1..]) {
            let value = |tag: &str| values.iter().find(|(t, _)| t == tag).map(|(_, v)| *v);
            let split = if line.split == Split::Train { "train" } else { "test" };
            assert_eq!((*step, value(&format!("loss/{split}"))), (line.step as i64, Some(line.loss as f32)));
            assert_eq!(value(&format!("error/{split}")), Some(line.error as f32));
            assert_eq!(value("learning_rate").is_some(), line.split == Split::Train);
            for (name, w) in &line.weights {
                assert_eq!(value(&format!("update_ratio/{name}")), Some(w.ratio as f32));
            }
        }
        lines.len()
    };
    let before = check();
    folder.convnet(&[&RESUME[..], &["--set", "train.epochs=2"]].concat()).ended(0);
    assert!(check() > before);
    let plain = Folder::new(SMALL);
    plain.train(&["--epochs", "0.1"]).ended(0);
    assert!(!plain.path("run/tensorboard").exists());
}

/// TensorBoard's own reader finds the same curves. `scripts/test.sh` brings it into a folder that CONVNET_TENSORBOARD names;
/// elsewhere this test does nothing without one.
#[test]
fn tensorboard_reads_the_events() {
    let Some(packages) = std::env::var_os("CONVNET_TENSORBOARD") else { return };
    let folder = Folder::new(SMALL);
    folder.train(&["--epochs", "1", "--tensorboard"]).ended(0);
    let read = "import json, sys\n\
                from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n\
                events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0}).Reload()\n\
                print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))";
    let output = std::process::Command::new("python3")
        .args(["-c", read])
        .arg(folder.path("run/tensorboard"))
        .env("PYTHONPATH", packages)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = read_lines(&folder.path("run/metrics.jsonl")).unwrap();
    for (split, name) in [(Split::Train, "train"), (Split::Test, "test")] {
        let of_split: Vec<&Line> = lines.iter().filter(|line| line.split == split).collect();
        assert!(!of_split.is_empty());
        for (tag, value) in [("loss", (|line| line.loss) as fn(&Line) -> f64), ("error", |line| line.error)] {
            let curve = found[format!("{tag}/{name}")].as_array().unwrap();
            let curve = curve.iter().map(|point| (point[0].as_u64().unwrap(), point[1].as_f64().unwrap() as f32));
            assert!(curve.eq(of_split.iter().map(|line| (line.step, value(line) as f32))), "{tag}/{name}: {found}");
        }
    }
}
