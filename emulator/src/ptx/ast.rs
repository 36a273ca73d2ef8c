//! The tree a PTX module is read into.

use std::fmt;

/// Why a module could not be read or run: what, and in which line of the PTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line of the PTX text, from 1; 0 when no line applies.
    pub line: u32,
    /// What is wrong, naming the instruction or word.
    pub message: String,
}

impl Error {
    /// An error at a line.
    pub fn new(line: u32, message: impl Into<String>) -> Self {
        Error { line, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.message) } else { write!(f, "PTX line {}: {}", self.line, self.message) }
    }
}

impl std::error::Error for Error {}

/// A module: what one `.ptx` text declares.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// The capability in `.target`, 80 for sm_80.
    pub target: u32,
    /// Kernels and device functions, in order.
    pub functions: Vec<Function>,
    /// Variables outside functions.
    pub variables: Vec<Variable>,
    /// `.file` number and name, for `.loc`.
    pub files: Vec<(u32, String)>,
}

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory, also what `.const` lies in.
    Global,
    /// One copy a block.
    Shared,
    /// One copy a thread.
    Local,
    /// Parameters of a kernel or of a call.
    Param,
}

/// A variable of any space, or a parameter.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its symbol.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Alignment in bytes.
    pub align: u64,
    /// Size in bytes; 0 for `.extern .shared x[]`.
    pub size: u64,
    /// Whether it is only declared here.
    pub external: bool,
    /// Initial bytes, at most `size`.
    pub initial: Vec<u8>,
    /// Places in `initial` that hold the address of a symbol: (offset, symbol, added to it).
    pub addresses: Vec<(usize, String, i64)>,
}

/// A kernel or a device function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its symbol.
    pub name: String,
    /// `.entry` rather than `.func`.
    pub entry: bool,
    /// What it returns.
    pub returns: Vec<Variable>,
    /// What it takes.
    pub params: Vec<Variable>,
    /// The body; `None` for a declaration.
    pub body: Option<Vec<Statement>>,
    /// The line it starts at.
    pub line: u32,
    /// The product of `.maxntid`, the most threads a block may have.
    pub max_threads: Option<u32>,
}

/// A register type as declared, by its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterType {
    /// `.pred`
    Predicate,
    /// 16 and 32 bits
    Narrow,
    /// 64 bits
    Wide,
}

/// One item of a body.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `name:`
    Label(String),
    /// `.reg .b32 %r<5>;` declares five; `.reg .b32 x;` has no count.
    Register {
        /// Its width.
        ty: RegisterType,
        /// Its name, without the count.
        name: String,
        /// `<n>`
        count: Option<u32>,
    },
    /// `.local`, `.shared` or `.param` inside a body.
    Variable(Variable),
    /// `name: .branchtargets a, b;`
    Targets(String, Vec<String>),
    /// An instruction.
    Instruction(Instruction),
}

/// An instruction as written.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Line of the PTX text.
    pub line: u32,
    /// File number and line of the `.loc` in force, (0, 0) without.
    pub source: (u32, u32),
    /// `@%p` or `@!%p`: the predicate and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// The opcode's words: `ld.global.f32` is `ld`, `global`, `f32`.
    pub opcode: Vec<String>,
    /// Its operands.
    pub operands: Vec<Operand>,
}

impl Instruction {
    /// The opcode with its dots.
    pub fn name(&self) -> String {
        self.opcode.join(".")
    }
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, special register, label or symbol.
    Name(String),
    /// `!%p`
    Not(String),
    /// An integer.
    Integer(i64),
    /// `0f3F800000`
    F32(u32),
    /// `0d…`, or a decimal literal.
    F64(u64),
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `[base+offset]`; the base may be missing.
    Address(Option<String>, i64),
    /// `[map, {c, …}]`: the base of a tensor map's address, what is added to it, and coordinates.
    Tensor(String, i64, Vec<Operand>),
    /// `a|b`, two destinations.
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)`, in calls.
    List(Vec<Operand>),
}
