//! The call of a kernel, with denormal numbers off.
//!
//! Networks drift into denormals (activations that fade from layer to layer), and CPUs take them a hundred times slower
//! than other numbers, so kernels run with *flush to zero*: denormal results become zero, and where the CPU knows the
//! mode, denormal operands count as zero. The mode is a bit of a control register of the thread, which Rust code must
//! never see changed; so it is set, the kernel called and the register restored within one block of assembly.
//!
//! | CPU | register | bits |
//! |---|---|---|
//! | x86-64 | MXCSR | FTZ (15), DAZ (6) |
//! | aarch64 | FPCR | FZ (24): results and operands |
//! | others | | left as it is |

use incept_ir::abi::{KernelArgs, KernelFn};

/// Calls a kernel with denormals off; afterwards the modes and flags of the thread are what they were.
///
/// # Safety
/// The contract of [`KernelFn`].
#[inline]
pub unsafe fn call(function: KernelFn, args: &KernelArgs) {
    let args = std::ptr::from_ref(args);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut modes = [0u32; 2];
        // SAFETY: the kernel is called by the platform's convention: its argument in the first register, the stack aligned
        // (on Windows with its 32 bytes of shadow space), every register that a call may change given up. `r12` survives
        // the call. Kernels do not unwind. MXCSR is as before at the end, the exception flags included, and no exception
        // is unmasked in between.
        unsafe {
            std::arch::asm!(
                "stmxcsr [r12]",
                "mov eax, [r12]",
                "or eax, 0x8040",
                "mov [r12 + 4], eax",
                "ldmxcsr [r12 + 4]",
                #[cfg(windows)]
                "sub rsp, 32",
                "call r11",
                #[cfg(windows)]
                "add rsp, 32",
                "ldmxcsr [r12]",
                in("r12") modes.as_mut_ptr(),
                in("r11") function,
                #[cfg(windows)]
                in("rcx") args,
                #[cfg(not(windows))]
                in("rdi") args,
                clobber_abi("C"),
            );
        }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: the kernel is called by the platform's convention: its argument in `x0`, the stack aligned, every register
    // that a call may change given up; `x20` survives the call. Kernels do not unwind. FPCR is as before at the end.
    unsafe {
        std::arch::asm!(
            "mrs x20, fpcr",
            "orr x21, x20, #0x1000000",
            "msr fpcr, x21",
            "blr x9",
            "msr fpcr, x20",
            in("x0") args,
            in("x9") function,
            out("x20") _,
            out("x21") _,
            clobber_abi("C"),
        );
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    // SAFETY: this function's contract.
    unsafe {
        function(args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplies the first value of operand 0 by that of operand 1 into operand 2.
    unsafe extern "C" fn multiply(args: *const KernelArgs) {
        // SAFETY: the operands are those of the test below.
        unsafe {
            let [a, b, y] = *(*args).operands.cast::<[*mut f32; 3]>();
            y.write_volatile(a.read_volatile() * b.read_volatile());
        }
    }

    fn product(mut a: f32, mut b: f32) -> f32 {
        let mut y = f32::NAN;
        let operands: [*mut u8; 3] = [(&raw mut a).cast(), (&raw mut b).cast(), (&raw mut y).cast()];
        let args =
            KernelArgs { operands: operands.as_ptr(), scratch: std::ptr::null_mut(), task_begin: 0, task_end: 1 };
        // SAFETY: three operands of one value each.
        unsafe { call(multiply, &args) };
        y
    }

    #[cfg(target_arch = "x86_64")]
    fn modes() -> u32 {
        let mut modes = 0u32;
        // SAFETY: stores a register.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut modes, options(nostack, preserves_flags)) };
        modes
    }

    #[test]
    fn kernels_see_no_denormals() {
        assert_eq!(product(1.5, 2.0).to_bits(), 3.0f32.to_bits());
        let denormal = f32::from_bits(1 << 20);
        assert!(denormal > 0.0);
        let flushed = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        // An operand, and a result.
        assert_eq!(product(denormal, 4.0) > 0.0, !flushed);
        assert_eq!(product(denormal, 1e30) > 0.0, !flushed);
        assert_eq!(product(f32::MIN_POSITIVE, 0.5) > 0.0, !flushed);
        assert_eq!(product(-f32::MIN_POSITIVE, 0.5) < 0.0, !flushed);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_callers_modes_are_as_before() {
        let before = modes();
        assert_eq!(before & 0x8040, 0);
        // Inexact, underflow, overflow and invalid all raise flags within the call.
        for (a, b) in [(f32::MIN_POSITIVE, 0.3), (f32::MAX, 3.0), (f32::INFINITY, 0.0), (0.1, 0.3)] {
            let _ = product(a, b);
            assert_eq!(modes(), before);
        }
        assert!(f32::MIN_POSITIVE * std::hint::black_box(0.5) > 0.0);
    }
}
