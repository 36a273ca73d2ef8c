//! What handles stand for. A handle is a number, never a pointer, so a wrong one is an error and nothing worse.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::module::{Function, Module};
use super::stream::Operation;
use super::{Answer, INVALID_CONTEXT};

/// A handle.
pub type Handle = usize;

/// The context that all share as primary.
pub const PRIMARY: Handle = 0x100;

#[derive(Default)]
pub struct Stream {
    pub flags: u32,
    pub priority: i32,
    /// The capture it takes part in.
    pub capture: Option<Handle>,
}

#[derive(Default)]
pub struct Capture {
    pub operations: Vec<Operation>,
    pub origin: Handle,
}

#[derive(Clone, Copy, Default)]
pub struct Event {
    pub recorded: Option<Instant>,
    /// The capture it was recorded in: a stream that waits for it joins.
    pub capture: Option<Handle>,
}

#[derive(Default)]
pub struct State {
    next: Handle,
    pub contexts: HashMap<Handle, u32>,
    pub modules: HashMap<Handle, Arc<Module>>,
    pub functions: HashMap<Handle, Arc<Function>>,
    pub streams: HashMap<Handle, Stream>,
    pub captures: HashMap<Handle, Capture>,
    pub events: HashMap<Handle, Event>,
    pub graphs: HashMap<Handle, Arc<Vec<Operation>>>,
    pub executables: HashMap<Handle, Arc<Vec<Operation>>>,
    pub pools: HashMap<Handle, HashMap<u32, u64>>,
    pub limits: HashMap<u32, usize>,
}

impl State {
    /// A handle that was not used before.
    pub fn handle(&mut self) -> Handle {
        self.next += 1;
        0x1000 + self.next * 16
    }
}

/// The state.
pub fn state() -> MutexGuard<'static, State> {
    static STATE: std::sync::OnceLock<Mutex<State>> = std::sync::OnceLock::new();
    STATE.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner())
}

thread_local! {
    static CURRENT: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// The thread's stack of contexts, the current one last.
pub fn with_contexts<T>(f: impl FnOnce(&mut Vec<Handle>) -> T) -> T {
    CURRENT.with_borrow_mut(f)
}

/// Fails when the thread has no context.
pub fn need_context() -> Answer {
    let current = with_contexts(|c| c.last().copied().unwrap_or(0));
    if current != 0 { Ok(()) } else { Err(INVALID_CONTEXT) }
}
