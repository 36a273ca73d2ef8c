//! Contexts: handles without weight, as there is one device and one address space.

use std::ffi::{c_int, c_uint, c_void};

use super::device::device;
use super::state::{Handle, PRIMARY, need_context, state, with_contexts};
use super::{Answer, INVALID_CONTEXT, INVALID_VALUE, Out, api, write_reports};

fn create(out: Out<Handle>, flags: c_uint, dev: c_int) -> Answer {
    device(dev)?;
    let handle = {
        let mut state = state();
        let handle = state.handle();
        state.contexts.insert(handle, flags);
        handle
    };
    with_contexts(|c| c.push(handle));
    out.set(handle)
}

fn known(context: Handle) -> Answer {
    if state().contexts.contains_key(&context) { Ok(()) } else { Err(INVALID_CONTEXT) }
}

api! {
    fn cuDevicePrimaryCtxRetain(out: Out<Handle>, dev: c_int) {
        device(dev)?;
        state().contexts.entry(PRIMARY).or_default();
        out.set(PRIMARY)
    }
    fn cuDevicePrimaryCtxRelease_v2(dev: c_int) {
        device(dev)
    }
    fn cuDevicePrimaryCtxReset_v2(dev: c_int) {
        device(dev)
    }
    fn cuDevicePrimaryCtxSetFlags_v2(dev: c_int, _flags: c_uint) {
        device(dev)
    }
    fn cuDevicePrimaryCtxGetState(dev: c_int, flags: Out<c_uint>, active: Out<c_int>) {
        device(dev)?;
        flags.set(0)?;
        active.set(state().contexts.contains_key(&PRIMARY) as c_int)
    }
    fn cuCtxCreate_v2(out: Out<Handle>, flags: c_uint, dev: c_int) {
        create(out, flags, dev)
    }
    fn cuCtxCreate_v3(out: Out<Handle>, _affinity: *const c_void, _n: c_int, flags: c_uint, dev: c_int) {
        create(out, flags, dev)
    }
    fn cuCtxCreate_v4(out: Out<Handle>, _params: *const c_void, flags: c_uint, dev: c_int) {
        create(out, flags, dev)
    }
    fn cuCtxDestroy_v2(context: Handle) {
        state().contexts.remove(&context).ok_or(INVALID_CONTEXT)?;
        with_contexts(|c| c.retain(|&k| k != context));
        Ok(())
    }
    fn cuCtxSetCurrent(context: Handle) {
        if context == 0 {
            with_contexts(|c| c.pop());
            return Ok(());
        }
        known(context)?;
        with_contexts(|c| {
            c.pop();
            c.push(context);
        });
        Ok(())
    }
    fn cuCtxGetCurrent(out: Out<Handle>) {
        out.set(with_contexts(|c| c.last().copied().unwrap_or(0)))
    }
    fn cuCtxPushCurrent_v2(context: Handle) {
        known(context)?;
        with_contexts(|c| c.push(context));
        Ok(())
    }
    fn cuCtxPopCurrent_v2(out: Out<Handle>) {
        let context = with_contexts(|c| c.pop()).ok_or(INVALID_CONTEXT)?;
        out.set_if(context);
        Ok(())
    }
    fn cuCtxGetDevice(out: Out<c_int>) {
        need_context()?;
        out.set(0)
    }
    fn cuCtxSynchronize() {
        need_context()?;
        write_reports();
        Ok(())
    }
    fn cuCtxGetApiVersion(_context: Handle, version: Out<c_uint>) {
        version.set(3020)
    }
    fn cuCtxGetFlags(flags: Out<c_uint>) {
        need_context()?;
        flags.set(0)
    }
    fn cuCtxSetFlags(_flags: c_uint) {
        need_context()
    }
    fn cuCtxGetLimit(value: Out<usize>, limit: c_uint) {
        need_context()?;
        let known = state().limits.get(&limit).copied();
        value.set(known.unwrap_or(match limit {
            0 => 1024,
            1 => 1 << 20,
            2 => 8 << 20,
            _ => 0,
        }))
    }
    fn cuCtxSetLimit(limit: c_uint, value: usize) {
        need_context()?;
        if limit > 6 {
            return Err(INVALID_VALUE);
        }
        state().limits.insert(limit, value);
        Ok(())
    }
    fn cuCtxGetCacheConfig(config: Out<c_uint>) {
        need_context()?;
        config.set(0)
    }
    fn cuCtxSetCacheConfig(_config: c_uint) {
        need_context()
    }
    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        need_context()?;
        least.set_if(0);
        greatest.set_if(-5);
        Ok(())
    }
    fn cuCtxEnablePeerAccess(_peer: Handle, _flags: c_uint) {
        Err(super::NOT_SUPPORTED)
    }
    fn cuCtxResetPersistingL2Cache() {
        need_context()
    }
}
