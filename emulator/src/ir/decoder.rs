//! What lowering hands to `exec::decode` for one instruction: its words, its operands, and a way to say what executes it.
//!
//! Every word of the opcode has to be taken by the decoder; one left over is an error that names it, so that no modifier is
//! ever passed over.

use super::lower::{Lowering, Name};
use super::{Barrier, Class, Special, Ty};
use crate::exec::Exec;
use crate::ptx::{Error, Instruction, Operand, RegisterType, Space};

/// One instruction being decoded.
pub struct Decoder<'a, 'm> {
    pub(super) lowering: &'a mut Lowering<'m>,
    pub(super) inst: &'a Instruction,
    taken: u64,
    /// See [`super::Inst::mode`].
    pub mode: u32,
    /// See [`super::Inst::imm`].
    pub imm: i64,
    /// See [`super::Inst::more`].
    pub more: Vec<u32>,
    /// See [`super::Place::class`].
    pub class: Class,
    /// See [`super::Place::flops`].
    pub flops: u32,
    /// See [`super::Place::barrier`].
    pub barrier: Barrier,
    /// Whether it is one of those that work beside the warp: see [`super::Program::touches`].
    pub warpgroup: bool,
    /// The source, when all the instruction does is copy it.
    pub copy: Option<u32>,
    pub(super) access: super::allocate::Access,
    pub(super) emitted: Option<(Exec, [u32; 5])>,
}

type Result<T> = std::result::Result<T, Error>;

impl<'a, 'm> Decoder<'a, 'm> {
    pub(super) fn new(lowering: &'a mut Lowering<'m>, inst: &'a Instruction) -> Self {
        Decoder {
            lowering,
            inst,
            taken: 1,
            mode: 0,
            imm: 0,
            more: Vec::new(),
            class: Class::Integer,
            flops: 0,
            barrier: Barrier::No,
            warpgroup: false,
            copy: None,
            access: Default::default(),
            emitted: None,
        }
    }

    /// The first word.
    pub fn opcode(&self) -> &'a str {
        &self.inst.opcode[0]
    }

    /// The opcode's words after the first.
    pub fn words(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.inst.opcode[1..].iter().map(String::as_str)
    }

    /// Number of operands.
    pub fn operands(&self) -> usize {
        self.inst.operands.len()
    }

    /// An operand as written.
    pub fn operand(&self, k: usize) -> Result<&'a Operand> {
        self.inst.operands.get(k).ok_or_else(|| self.bad("too few operands"))
    }

    /// An error about this instruction.
    pub fn bad(&self, what: &str) -> Error {
        Error::new(self.inst.line, format!("'{}': {what}", self.inst.name()))
    }

    /// Fails where the module's target is below what the instruction needs.
    pub fn needs(&self, target: u32) -> Result<()> {
        if self.lowering.target < target { Err(self.bad(&format!("it needs sm_{target}"))) } else { Ok(()) }
    }

    /// The error for an instruction or a combination of modifiers that the emulator does not know.
    pub fn unknown(&self) -> Error {
        self.bad("the emulator does not know this instruction")
    }

    /// Takes a word of the opcode if it is there.
    pub fn take(&mut self, word: &str) -> bool {
        let found = (1..self.inst.opcode.len()).find(|&k| self.taken >> k & 1 == 0 && self.inst.opcode[k] == word);
        if let Some(k) = found {
            self.taken |= 1 << k;
        }
        found.is_some()
    }

    /// Takes the first of some words that is there.
    pub fn take_any<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|w| self.take(w))
    }

    /// Takes the next type.
    pub fn ty(&mut self) -> Result<Ty> {
        for k in 1..self.inst.opcode.len() {
            if self.taken >> k & 1 == 0
                && let Some(ty) = Ty::named(&self.inst.opcode[k])
            {
                self.taken |= 1 << k;
                return Ok(ty);
            }
        }
        Err(self.bad("no type"))
    }

    /// The declared width of a register operand; immediates and special registers count as narrow.
    pub fn is_wide(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Name(name) => match self.lowering.find(name) {
                Some(Name::Register(r)) => self.lowering.types[*r as usize] == RegisterType::Wide,
                _ => false,
            },
            _ => false,
        }
    }

    fn register(&self, name: &str) -> Result<u32> {
        match self.lowering.find(name) {
            Some(Name::Register(r)) => Ok(*r),
            _ => Err(self.bad(&format!("'{name}' is not a register"))),
        }
    }

    fn check_width(&self, r: u32, wide: bool, name: &str) -> Result<()> {
        let wanted = if wide { RegisterType::Wide } else { RegisterType::Narrow };
        if self.lowering.types[r as usize] == wanted { Ok(()) } else { Err(self.bad(&format!("'{name}' has another width"))) }
    }

    /// A destination register.
    pub fn dest_of(&mut self, operand: &Operand, wide: bool) -> Result<u32> {
        let r = match operand {
            Operand::Name(name) if name == "_" => {
                self.lowering.fresh(if wide { RegisterType::Wide } else { RegisterType::Narrow })
            }
            Operand::Name(name) => {
                let r = self.register(name)?;
                self.check_width(r, wide, name)?;
                r
            }
            _ => return Err(self.bad("the destination is not a register")),
        };
        self.access.defs.push(r);
        Ok(super::lower::VIRTUAL | r)
    }

    /// The destination in operand `k`.
    pub fn dest(&mut self, k: usize, wide: bool) -> Result<u32> {
        self.dest_of(self.operand(k)?, wide)
    }

    /// A scratch register.
    pub fn scratch(&mut self, wide: bool) -> u32 {
        let r = self.lowering.fresh(if wide { RegisterType::Wide } else { RegisterType::Narrow });
        self.access.defs.push(r);
        super::lower::VIRTUAL | r
    }

    /// A destination predicate.
    pub fn dest_pred_of(&mut self, operand: &Operand) -> Result<u32> {
        let r = match operand {
            Operand::Name(name) if name == "_" => self.lowering.fresh(RegisterType::Predicate),
            Operand::Name(name) => self.register(name)?,
            _ => return Err(self.bad("the destination is not a predicate")),
        };
        if self.lowering.types[r as usize] != RegisterType::Predicate {
            return Err(self.bad("the destination is not a predicate"));
        }
        self.access.defs.push(r);
        Ok(super::lower::VIRTUAL | r)
    }

    /// The predicate that stands for the carry flag.
    pub fn carry_flag(&mut self, read: bool, written: bool) -> u32 {
        let r = self.lowering.carry();
        if read {
            self.access.uses.push(r);
        }
        if written {
            self.access.defs.push(r);
        }
        super::lower::VIRTUAL | r
    }

    /// A scratch predicate.
    pub fn scratch_pred(&mut self) -> u32 {
        let r = self.lowering.fresh(RegisterType::Predicate);
        self.access.defs.push(r);
        super::lower::VIRTUAL | r
    }

    /// A source predicate and whether it is negated.
    pub fn source_pred(&mut self, k: usize) -> Result<(u32, bool)> {
        let (name, negated) = match self.operand(k)? {
            Operand::Name(name) => (name, false),
            Operand::Not(name) => (name, true),
            Operand::Integer(v) => return Ok(((*v != 0) as u32, false)),
            _ => return Err(self.bad("expected a predicate")),
        };
        Ok((self.pred_named(name)?, negated))
    }

    /// A source predicate by name.
    pub fn pred_named(&mut self, name: &str) -> Result<u32> {
        let r = self.register(name)?;
        if self.lowering.types[r as usize] != RegisterType::Predicate {
            return Err(self.bad(&format!("'{name}' is not a predicate")));
        }
        self.access.uses.push(r);
        Ok(super::lower::VIRTUAL | r)
    }

    /// A source: a register, a special register, the address of a symbol, or a constant.
    pub fn source_of(&mut self, operand: &Operand, ty: Ty) -> Result<u32> {
        let wide = ty.wide();
        let bits = match operand {
            Operand::Name(name) => {
                if let Some(Name::Register(r)) = self.lowering.find(name) {
                    let r = *r;
                    self.check_width(r, wide, name)?;
                    self.access.uses.push(r);
                    return Ok(super::lower::VIRTUAL | r);
                }
                if name == "WARP_SZ" {
                    return Ok(self.constant(32, wide));
                }
                if let Some(special) = special(name) {
                    if wide {
                        return match special {
                            Special::Zero => Ok(self.constant(0, true)),
                            _ => Err(self.bad(&format!("'{name}' has 32 bits"))),
                        };
                    }
                    return Ok(self.lowering.special(special));
                }
                let (_, address) = self.lowering.address(name).ok_or_else(|| self.bad(&format!("'{name}' is not declared")))?;
                return Ok(self.lowering.symbol(name, address, wide));
            }
            Operand::Address(Some(name), added) => {
                let (_, address) = self.lowering.address(name).ok_or_else(|| self.bad(&format!("'{name}' is not declared")))?;
                return Ok(self.lowering.symbol(name, address.wrapping_add_signed(*added), wide));
            }
            Operand::Integer(v) => match ty {
                Ty::F32 => (*v as f32).to_bits() as u64,
                Ty::F64 => (*v as f64).to_bits(),
                _ => *v as u64,
            },
            Operand::F32(v) if ty == Ty::F64 => (f32::from_bits(*v) as f64).to_bits(),
            Operand::F32(v) => *v as u64,
            Operand::F64(v) if ty == Ty::F32 => (f64::from_bits(*v) as f32).to_bits() as u64,
            Operand::F64(v) => *v,
            _ => return Err(self.bad("expected a register or a constant")),
        };
        let bits = match ty.bytes() {
            1 => bits as u8 as u64,
            2 => bits as u16 as u64,
            4 => bits as u32 as u64,
            _ => bits,
        };
        Ok(self.constant(bits, wide))
    }

    /// The source in operand `k`.
    pub fn source(&mut self, k: usize, ty: Ty) -> Result<u32> {
        self.source_of(self.operand(k)?, ty)
    }

    /// Like `source_of`, for a value of that type in a register of any width: the row and whether it is wide.
    pub fn loose_source(&mut self, operand: &Operand, ty: Ty) -> Result<(u32, bool)> {
        let wide = self.is_wide(operand);
        let ty = if wide == ty.wide() {
            ty
        } else if wide {
            Ty::B64
        } else {
            Ty::B32
        };
        Ok((self.source_of(operand, ty)?, wide || ty.wide()))
    }

    /// A row of constants.
    pub fn constant(&mut self, bits: u64, wide: bool) -> u32 {
        self.lowering.constant(bits, wide)
    }

    /// The value of a row of wide constants.
    pub fn constant_at(&self, row: u32) -> Option<u64> {
        self.lowering.constant_value(row)
    }

    /// An address operand: the row of its base, whether that is wide, the offset, and the space its symbol lies in.
    pub fn address(&mut self, k: usize) -> Result<(u32, bool, i64, Option<Space>)> {
        match self.operand(k)? {
            Operand::Address(name, offset) => self.address_of(name, *offset),
            _ => Err(self.bad("expected an address")),
        }
    }

    /// Like `address`, of a base and an offset.
    pub fn address_of(&mut self, name: &Option<String>, offset: i64) -> Result<(u32, bool, i64, Option<Space>)> {
        let Some(name) = name else { return Ok((self.constant(0, true), true, offset, None)) };
        if let Some(Name::Register(_)) = self.lowering.find(name) {
            let base = Operand::Name(name.clone());
            let wide = self.is_wide(&base);
            let row = self.source_of(&base, if wide { Ty::B64 } else { Ty::B32 })?;
            return Ok((row, wide, offset, None));
        }
        let (space, address) = self.lowering.address(name).ok_or_else(|| self.bad(&format!("'{name}' is not declared")))?;
        Ok((self.lowering.symbol(name, address, true), true, offset, Some(space)))
    }

    /// Says what executes the instruction, on which rows. Fails when a word of the opcode was not taken.
    pub fn emit(&mut self, exec: Exec, ops: [u32; 5]) -> Result<()> {
        if let Some(k) = (1..self.inst.opcode.len()).find(|&k| self.taken >> k & 1 == 0) {
            return Err(self.bad(&format!("the emulator does not know '.{}' here", self.inst.opcode[k])));
        }
        self.emitted = Some((exec, ops));
        Ok(())
    }
}

fn special(name: &str) -> Option<Special> {
    let axis = |n: &str| match n {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    let name = name.strip_prefix('%')?;
    if let Some((base, n)) = name.split_once('.') {
        let k = axis(n)?;
        return Some(match base {
            "tid" => Special::Tid(k),
            "ntid" => Special::Ntid(k),
            "ctaid" => Special::Ctaid(k),
            "nctaid" => Special::Nctaid(k),
            "clusterid" => Special::Ctaid(k),
            "nclusterid" => Special::Nctaid(k),
            "cluster_ctaid" => Special::Zero,
            "cluster_nctaid" => Special::One,
            _ => return None,
        });
    }
    Some(match name {
        "laneid" => Special::LaneId,
        "warpid" => Special::WarpId,
        "nwarpid" => Special::WarpCount,
        "lanemask_eq" => Special::LaneMask(0),
        "lanemask_le" => Special::LaneMask(1),
        "lanemask_lt" => Special::LaneMask(2),
        "lanemask_ge" => Special::LaneMask(3),
        "lanemask_gt" => Special::LaneMask(4),
        "dynamic_smem_size" => Special::DynamicShared,
        "total_smem_size" => Special::TotalShared,
        "gridid" | "smid" | "cluster_ctarank" => Special::Zero,
        "nsmid" | "cluster_nctarank" => Special::One,
        _ => return None,
    })
}
