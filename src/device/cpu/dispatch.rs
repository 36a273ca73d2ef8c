//! Loops compiled three times: for AVX-512, for AVX2 and for what every machine of the architecture has; the best that this
//! one can run is taken at each call (an atomic load). The arithmetic is the same: Rust neither fuses nor reorders
//! floating-point operations, so the three give the same bits.

/// What the loops of this process run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler was told of.
    Base,
}

impl Level {
    /// The best of this machine.
    #[inline]
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Base
    }

    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Base => std::env::consts::ARCH,
        }
    }
}

/// Defines a function, generic over `T: Real` and closures, that is compiled once for each [`Level`].
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<T: Real $(, $f:ident: Fn($($i:ty),*) -> $o:ty)?>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<T: Real $(, $f: Fn($($i),*) -> $o)?>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<T: Real $(, $f: Fn($($i),*) -> $o)?>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
            fn avx512<T: Real $(, $f: Fn($($i),*) -> $o)?>($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2<T: Real $(, $f: Fn($($i),*) -> $o)?>($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            match $crate::device::cpu::dispatch::Level::best() {
                // SAFETY: the machine has these instructions: `best` asked it.
                #[cfg(target_arch = "x86_64")]
                $crate::device::cpu::dispatch::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::device::cpu::dispatch::Level::Avx2 => unsafe { avx2($($arg),*) },
                $crate::device::cpu::dispatch::Level::Base => body($($arg),*),
            }
        }
    };
}
pub(super) use simd;
