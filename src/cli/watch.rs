//! `convnet watch`.

use super::report::Record;
use super::test::Which;
use super::{Failure, Result};
use crate::train::{Run, checkpoint};
use clap::Args;
use oxhttp::Server;
use oxhttp::model::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use oxhttp::model::{Body, Request, Response, StatusCode};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// Pages that are sent at the same time.
const CONNECTIONS: usize = 16;
/// A browser that says nothing for so long is gone.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The arguments of `watch`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// The port on 127.0.0.1; 0 is any that is free
    #[arg(long, default_value_t = 8047, value_name = "PORT")]
    port: u16,
}

pub(super) fn run(a: Arguments) -> Result {
    Run::config(&a.run)?;
    let port = free_port(a.port)?;
    let (folder, made) = (a.run, Mutex::new((String::new(), String::new())));
    let server = Server::new(move |request: &mut Request<Body>| {
        if !is_local(request, port) {
            return answer(StatusCode::FORBIDDEN, "text/plain", "this page is for this machine alone".into());
        }
        match request.uri().path() {
            "/version" => answer(StatusCode::OK, "text/plain", version(&folder)),
            "/" => answer(StatusCode::OK, "text/html; charset=utf-8", newest(&folder, &made)),
            _ => answer(StatusCode::NOT_FOUND, "text/plain", "there is only /".into()),
        }
    });
    let server = server.bind((Ipv4Addr::LOCALHOST, port)).with_max_concurrent_connections(CONNECTIONS);
    let cannot = |e: std::io::Error| Failure::new(format!("cannot serve on 127.0.0.1:{port}: {e}; give another --port"));
    let listening = server.with_global_timeout(TIMEOUT).spawn().map_err(cannot)?;
    super::print(format!("http://127.0.0.1:{port}/"));
    eprintln!("Ctrl-C ends it");
    listening.join().map_err(cannot)?;
    Err(Failure::new("the server has ended"))
}

/// The port itself, or where it is 0 one that nobody has.
fn free_port(port: u16) -> Result<u16> {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|l| l.local_addr());
    let failed = |e| Failure::new(format!("cannot listen on 127.0.0.1:{port}: {e}; give another --port"));
    Ok(found.map_err(failed)?.port())
}

/// Whether a browser was told this very address: another site whose name leads here must not read the page.
fn is_local(request: &Request<Body>, port: u16) -> bool {
    let host =
        request.headers().get(HOST).and_then(|h| h.to_str().ok()).or_else(|| request.uri().authority().map(|a| a.as_str()));
    host.is_some_and(|h| h == format!("127.0.0.1:{port}") || h == format!("localhost:{port}"))
}

fn answer(status: StatusCode, kind: &str, text: String) -> Response<Body> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).header(CACHE_CONTROL, "no-store");
    response.body(Body::from(text)).expect("these headers are valid")
}

/// Changes whenever there is something new: the metrics' length and time, and the newest checkpoint.
fn version(folder: &Path) -> String {
    let about = std::fs::metadata(folder.join("metrics.jsonl")).ok();
    let changed = about.as_ref().and_then(|m| m.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    let step = checkpoint::list(&folder.join("checkpoints")).last().map_or(0, |(step, _)| *step);
    format!("{}-{}-{step}", about.map_or(0, |m| m.len()), changed.map_or(0, |t| t.as_millis()))
}

/// The page, made anew where there is something new.
fn newest(folder: &Path, made: &Mutex<(String, String)>) -> String {
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    let version = version(folder);
    if made.0 != version {
        let note = "`convnet report` shows hidden units and errors too; they take a test, which would slow training down.";
        let page = Record::read(folder, &Which::default()).and_then(|r| r.page(folder, Err(note), true));
        match page {
            Ok(page) => *made = (version, page),
            // A line or a checkpoint may be half written or just removed: the page before is shown until the next look.
            Err(f) if made.1.is_empty() => return crate::report::page::of_failure(&f.message),
            Err(_) => {}
        }
    }
    made.1.clone()
}
