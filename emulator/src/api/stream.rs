//! Streams, events, capture and graphs.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;
use std::time::Instant;

use super::launch::Prepared;
use super::memory::{Copy, Fill};
use super::state::{Capture, Event, Handle, Stream, need_context, state};
use super::{Answer, ILLEGAL_STATE, INVALID_HANDLE, INVALID_VALUE, NOT_READY, Out, STREAM_CAPTURE_UNSUPPORTED, api};

/// Something that a stream does.
#[derive(Clone)]
pub enum Operation {
    /// A kernel.
    Launch(Arc<Prepared>),
    /// A copy.
    Copy(Copy),
    /// A fill.
    Fill(Fill),
    /// A host function and its argument.
    Host(extern "C" fn(*mut c_void), usize),
}

impl Operation {
    fn run(&self) -> Answer {
        match self {
            Operation::Launch(launch) => launch.run(),
            Operation::Copy(copy) => copy.run(),
            Operation::Fill(fill) => fill.run(),
            Operation::Host(function, argument) => {
                function(*argument as *mut c_void);
                Ok(())
            }
        }
    }
}

/// Whether a handle is a default stream: null, legacy or per-thread.
fn is_default(stream: Handle) -> bool {
    stream <= 2
}

/// Does an operation, or records it when the stream is being captured.
pub fn enqueue(stream: Handle, operation: Operation) -> Answer {
    need_context()?;
    if !is_default(stream) {
        let mut state = state();
        let capture = state.streams.get(&stream).ok_or(INVALID_HANDLE)?.capture;
        if let Some(capture) = capture {
            let capture = state.captures.get_mut(&capture).ok_or(ILLEGAL_STATE)?;
            capture.operations.push(operation);
            return Ok(());
        }
    }
    operation.run()
}

/// Fails when a stream is unknown, or is being captured and must not be waited for.
pub fn idle(stream: Handle) -> Answer {
    need_context()?;
    if is_default(stream) {
        return Ok(());
    }
    match state().streams.get(&stream) {
        None => Err(INVALID_HANDLE),
        Some(s) if s.capture.is_some() => Err(STREAM_CAPTURE_UNSUPPORTED),
        Some(_) => Ok(()),
    }
}

fn create(out: Out<Handle>, flags: c_uint, priority: c_int) -> Answer {
    need_context()?;
    if flags > 1 {
        return Err(INVALID_VALUE);
    }
    let mut state = state();
    let handle = state.handle();
    state.streams.insert(handle, Stream { flags, priority, capture: None });
    out.set(handle)
}

fn elapsed(out: Out<f32>, start: Handle, end: Handle) -> Answer {
    let state = state();
    let event = |handle| state.events.get(&handle).copied().ok_or(INVALID_HANDLE);
    let (start, end) = (event(start)?, event(end)?);
    match (start.recorded, end.recorded) {
        (Some(a), Some(b)) => out.set(b.saturating_duration_since(a).as_secs_f32() * 1e3),
        _ => Err(INVALID_HANDLE),
    }
}

fn instantiate(out: Out<Handle>, graph: Handle) -> Answer {
    let mut state = state();
    let operations = state.graphs.get(&graph).cloned().ok_or(INVALID_HANDLE)?;
    let handle = state.handle();
    state.executables.insert(handle, operations);
    out.set(handle)
}

api! {
    fn cuStreamCreate(out: Out<Handle>, flags: c_uint) {
        create(out, flags, 0)
    }
    fn cuStreamCreateWithPriority(out: Out<Handle>, flags: c_uint, priority: c_int) {
        create(out, flags, priority)
    }
    fn cuStreamDestroy_v2(stream: Handle) {
        need_context()?;
        state().streams.remove(&stream).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuStreamSynchronize(stream: Handle) {
        idle(stream)
    }
    fn cuStreamQuery(stream: Handle) {
        idle(stream)
    }
    fn cuStreamGetFlags(stream: Handle, flags: Out<c_uint>) {
        let value = if is_default(stream) { 0 } else { state().streams.get(&stream).ok_or(INVALID_HANDLE)?.flags };
        flags.set(value)
    }
    fn cuStreamGetPriority(stream: Handle, priority: Out<c_int>) {
        let value = if is_default(stream) { 0 } else { state().streams.get(&stream).ok_or(INVALID_HANDLE)?.priority };
        priority.set(value)
    }
    fn cuStreamGetCtx(_stream: Handle, out: Out<Handle>) {
        need_context()?;
        out.set(super::state::PRIMARY)
    }
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) {
        need_context()?;
        let mut state = state();
        let capture = state.events.get(&event).ok_or(INVALID_HANDLE)?.capture;
        if is_default(stream) {
            return Ok(());
        }
        // Waiting for an event of a capture makes the stream part of it.
        let live = capture.filter(|c| state.captures.contains_key(c));
        let stream = state.streams.get_mut(&stream).ok_or(INVALID_HANDLE)?;
        if live.is_some() {
            stream.capture = live;
        }
        Ok(())
    }
    fn cuStreamAttachMemAsync(stream: Handle, _address: u64, _bytes: usize, _flags: c_uint) {
        idle(stream)
    }
    fn cuLaunchHostFunc(stream: Handle, function: Option<extern "C" fn(*mut c_void)>, argument: *mut c_void) {
        let function = function.ok_or(INVALID_VALUE)?;
        enqueue(stream, Operation::Host(function, argument as usize))
    }

    fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_uint) {
        need_context()?;
        let mut state = state();
        let capture = state.handle();
        let entry = state.streams.get_mut(&stream).ok_or(STREAM_CAPTURE_UNSUPPORTED)?;
        if entry.capture.is_some() {
            return Err(ILLEGAL_STATE);
        }
        entry.capture = Some(capture);
        state.captures.insert(capture, Capture { operations: Vec::new(), origin: stream });
        Ok(())
    }
    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        need_context()?;
        let mut state = state();
        let capture = state.streams.get(&stream).ok_or(INVALID_HANDLE)?.capture.ok_or(ILLEGAL_STATE)?;
        if state.captures.get(&capture).is_none_or(|c| c.origin != stream) {
            return Err(ILLEGAL_STATE);
        }
        let done = state.captures.remove(&capture).unwrap_or_default();
        state.streams.values_mut().filter(|s| s.capture == Some(capture)).for_each(|s| s.capture = None);
        let handle = state.handle();
        state.graphs.insert(handle, Arc::new(done.operations));
        graph.set(handle)
    }
    fn cuStreamIsCapturing(stream: Handle, status: Out<c_uint>) {
        need_context()?;
        let capturing = !is_default(stream) && state().streams.get(&stream).ok_or(INVALID_HANDLE)?.capture.is_some();
        status.set(capturing as c_uint)
    }
    fn cuThreadExchangeStreamCaptureMode(_mode: Out<c_uint>) {
        Ok(())
    }
    fn cuGraphCreate(out: Out<Handle>, _flags: c_uint) {
        let mut state = state();
        let handle = state.handle();
        state.graphs.insert(handle, Arc::default());
        out.set(handle)
    }
    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: Out<usize>) {
        if !nodes.is_null() {
            return Err(super::NOT_SUPPORTED);
        }
        count.set(state().graphs.get(&graph).ok_or(INVALID_HANDLE)?.len())
    }
    fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, _flags: u64) {
        need_context()?;
        instantiate(out, graph)
    }
    fn cuGraphInstantiate_v2(out: Out<Handle>, graph: Handle, _node: *mut Handle, _log: *mut u8, _len: usize) {
        need_context()?;
        instantiate(out, graph)
    }
    fn cuGraphUpload(executable: Handle, _stream: Handle) {
        need_context()?;
        state().executables.get(&executable).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        need_context()?;
        let operations = state().executables.get(&executable).cloned().ok_or(INVALID_HANDLE)?;
        operations.iter().try_for_each(|o| enqueue(stream, o.clone()))
    }
    fn cuGraphExecDestroy(executable: Handle) {
        state().executables.remove(&executable).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuGraphDestroy(graph: Handle) {
        state().graphs.remove(&graph).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    fn cuEventCreate(out: Out<Handle>, _flags: c_uint) {
        need_context()?;
        let mut state = state();
        let handle = state.handle();
        state.events.insert(handle, Event::default());
        out.set(handle)
    }
    fn cuEventRecord(event: Handle, stream: Handle) {
        need_context()?;
        let mut state = state();
        let capture = if is_default(stream) { None } else { state.streams.get(&stream).ok_or(INVALID_HANDLE)?.capture };
        let entry = state.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        *entry = Event { recorded: if capture.is_none() { Some(Instant::now()) } else { entry.recorded }, capture };
        Ok(())
    }
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: c_uint) {
        let _ = (event, stream);
        Err(super::NOT_SUPPORTED)
    }
    fn cuEventQuery(event: Handle) {
        match state().events.get(&event) {
            None => Err(INVALID_HANDLE),
            Some(e) if e.capture.is_some() => Err(NOT_READY),
            Some(_) => Ok(()),
        }
    }
    fn cuEventSynchronize(event: Handle) {
        state().events.get(&event).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuEventDestroy_v2(event: Handle) {
        state().events.remove(&event).map(|_| ()).ok_or(INVALID_HANDLE)
    }
    fn cuEventElapsedTime(out: Out<f32>, start: Handle, end: Handle) {
        elapsed(out, start, end)
    }
    fn cuEventElapsedTime_v2(out: Out<f32>, start: Handle, end: Handle) {
        elapsed(out, start, end)
    }
}
