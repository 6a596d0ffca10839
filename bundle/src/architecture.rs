//! The processor architectures that QEMU emulates, as UTM names them.

use crate::schema::choice;

choice! {
    /// A system architecture: the suffix of the `qemu-system-` program that emulates it.
    Architecture {
        Alpha = "alpha",
        Arm = "arm",
        Aarch64 = "aarch64",
        Avr = "avr",
        Hppa = "hppa",
        I386 = "i386",
        Loongarch64 = "loongarch64",
        M68k = "m68k",
        Microblaze = "microblaze",
        Microblazeel = "microblazeel",
        Mips = "mips",
        Mipsel = "mipsel",
        Mips64 = "mips64",
        Mips64el = "mips64el",
        Or1k = "or1k",
        Ppc = "ppc",
        Ppc64 = "ppc64",
        Riscv32 = "riscv32",
        Riscv64 = "riscv64",
        Rx = "rx",
        S390x = "s390x",
        Sh4 = "sh4",
        Sh4eb = "sh4eb",
        Sparc = "sparc",
        Sparc64 = "sparc64",
        Tricore = "tricore",
        X86_64 = "x86_64",
        Xtensa = "xtensa",
        Xtensaeb = "xtensaeb",
    }
}
