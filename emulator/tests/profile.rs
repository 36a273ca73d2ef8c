//! The counters of CONVNET_EMULATOR_PROFILE, on a kernel whose counts are known.

mod support;

use cudarc::driver::{LaunchConfig, PushKernelArg};

/// One warp: reads 32 consecutive floats, stores them to shared memory 32 words apart (all in one bank), diverges once, and
/// writes every eighth float of device memory.
const KERNEL: &str = ".version 9.0
.target sm_80
.address_size 64
.visible .entry counted(.param .u64 in, .param .u64 out) {
    .shared .align 4 .b8 box[4096];
    .reg .pred %p; .reg .b32 %t, %s, %a; .reg .f32 %v; .reg .b64 %i, %o;
    mov.u32 %t, %tid.x;
    ld.param.u64 %i, [in];
    ld.param.u64 %o, [out];
    mad.wide.u32 %i, %t, 4, %i;
    mad.wide.u32 %o, %t, 32, %o;
    ld.global.f32 %v, [%i];
    mov.u32 %s, box;
    mad.lo.u32 %a, %t, 128, %s;
    st.shared.f32 [%a], %v;
    setp.lt.u32 %p, %t, 7;
    @%p bra LOW;
    fma.rn.f32 %v, %v, %v, %v;
LOW:
    st.global.f32 [%o], %v;
    ret;
}";

#[test]
fn counts_of_a_known_kernel() {
    let path = std::env::temp_dir().join(format!("emulator-profile-{}.json", std::process::id()));
    // SAFETY: this process has one test, and nothing has read the environment yet.
    unsafe { std::env::set_var("CONVNET_EMULATOR_PROFILE", &path) };
    let (context, stream) = support::context();
    let f = support::ptx(&context, KERNEL).load_function("counted").unwrap();
    let input = stream.clone_htod(&[1f32; 32]).unwrap();
    let mut output = stream.alloc_zeros::<f32>(256).unwrap();
    let one_warp = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are those the kernel declares.
    unsafe { stream.launch_builder(&f).arg(&input).arg(&mut output).launch(one_warp) }.unwrap();
    context.synchronize().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let _ = std::fs::remove_file(&path);
    for wanted in [
        "\"counted\": {\"launches\":1,",
        // 25 lanes of one fma.
        "\"flops\":50,",
        "\"divergent_branches\":1,",
        "\"shared\":{\"requests\":1,\"wavefronts\":32,\"ideal_wavefronts\":1}",
        // 4 sectors of 32 bytes for the load; 32 for the store, which has 128 bytes, so 4 would do.
        "\"global\":{\"requests\":2,\"sectors\":36,\"ideal_sectors\":8}",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
}
