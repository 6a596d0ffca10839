//! What a debugger sees of a vCPU, and asks of it.

/// The registers of a processor for x86-64, as far as programs see them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8 to R15.
    pub general: [u64; 16],
    /// The next instruction (RIP).
    pub instruction: u64,
    /// The flags (RFLAGS).
    pub flags: u64,
    /// The selectors of CS, SS, DS, ES, FS and GS. They are only read.
    pub segments: [u16; 6],
    /// The x87 registers ST0 to ST7, 80 bits each.
    pub x87: [[u8; 10]; 8],
    /// The x87 control and status words, and the tag word with a bit for each register.
    pub x87_words: [u16; 3],
    /// XMM0 to XMM15.
    pub xmm: [u128; 16],
    /// The control and status of SSE (MXCSR).
    pub sse: u32,
}

/// What a hardware breakpoint waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The instruction there is about to be executed.
    Execute,
    /// So many bytes there were written: 1, 2, 4 or 8, at a multiple of that.
    Write(u8),
    /// They were read or written.
    Access(u8),
}

/// A hardware breakpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardwareBreakpoint {
    /// The guest-virtual address.
    pub address: u64,
    /// What it waits for.
    pub watch: Watch,
}

/// The most hardware breakpoints (DR0 to DR3).
pub const HARDWARE_BREAKPOINTS: usize = 4;

/// How a vCPU is debugged; the default is not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Debugging {
    /// Whether `int3` leaves the guest.
    pub software_breakpoints: bool,
    /// The hardware breakpoints, at most [`HARDWARE_BREAKPOINTS`].
    pub hardware_breakpoints: Vec<HardwareBreakpoint>,
    /// Whether the guest is left after one instruction.
    pub steps: bool,
    /// Whether the `int3` at which it stands is the guest's own, which it is to have now.
    pub returns_breakpoint: bool,
}

/// Why a vCPU that is debugged left the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugExit {
    /// An `int3` is about to be executed, at this address.
    Software(u64),
    /// The hardware breakpoint with this number.
    Hardware(usize),
    /// It executed an instruction.
    Step,
}
