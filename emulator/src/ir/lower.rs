//! A kernel's tree to internal code: names resolved, device functions inlined, blocks laid out, registers allocated.

use std::collections::HashMap;
use std::sync::Arc;

use super::allocate::{Access, allocate};
use super::{Barrier, Class, Decoder, Inst, Place, Program, Special, TRUE, Touch, layout};
use crate::exec::{self, CONSTANT, Exec, Row};
use crate::ptx::{Error, Function, Instruction, Module, Operand, RegisterType, Space, Statement, Variable};

/// Tag of a register that has no row yet.
pub(super) const VIRTUAL: u32 = 1 << 30;

type Result<T> = std::result::Result<T, Error>;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Register(u32),
    Block(usize),
    Targets(Vec<String>),
    /// A variable, or a parameter, and its address in its space.
    Variable(Space, u64),
    /// `extern __shared__`.
    DynamicShared,
}

struct Low {
    inst: Inst,
    access: Access,
    place: Place,
    copy: Option<u32>,
    flow: Flow,
}

/// Which of an instruction's numbers are blocks.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Branch,
    Indirect,
}

enum End {
    Open,
    Exit,
    Jump(usize),
    Branch { pred: u32, flip: bool, taken: usize, next: usize },
    Indirect { row: u32, targets: Vec<usize> },
}

struct Block {
    code: Vec<Low>,
    end: End,
    place: Place,
}

pub(super) struct Lowering<'m> {
    functions: HashMap<&'m str, &'m Function>,
    globals: &'m HashMap<String, u64>,
    pub(super) types: Vec<RegisterType>,
    scopes: Vec<HashMap<String, Name>>,
    /// Where the scopes of the function being inlined begin; those before it are not seen, the first apart.
    visible: usize,
    blocks: Vec<Block>,
    current: usize,
    constant_rows: HashMap<(u64, bool), u32>,
    constants: Vec<Row>,
    dynamic: Vec<(u32, bool, u64)>,
    specials: Vec<Special>,
    shared: u64,
    local: u64,
    calls: Vec<&'m str>,
    carry: Option<u32>,
    /// Whether an instruction works beside its warp.
    warpgroup: bool,
    /// The module's target.
    pub(super) target: u32,
}

/// Lowers a kernel. `globals` has the address of each module variable in device memory.
pub fn lower(
    module: &Module,
    kernel: &Function,
    globals: &HashMap<String, u64>,
    files: Arc<Vec<(u32, String)>>,
) -> Result<Program> {
    let place = Place { line: kernel.line, source: (0, 0), class: Class::Control, flops: 0, block: 0, barrier: Barrier::No };
    let mut lowering = Lowering {
        functions: module.functions.iter().filter(|f| f.body.is_some()).map(|f| (f.name.as_str(), f)).collect(),
        globals,
        types: Vec::new(),
        scopes: vec![HashMap::new()],
        visible: 1,
        blocks: vec![Block { code: Vec::new(), end: End::Open, place }],
        current: 0,
        constant_rows: HashMap::new(),
        constants: Vec::new(),
        dynamic: Vec::new(),
        specials: Vec::new(),
        shared: 0,
        local: 0,
        calls: vec![&kernel.name],
        carry: None,
        warpgroup: false,
        target: module.target,
    };
    for variable in module.variables.iter().filter(|v| v.space == Space::Shared) {
        lowering.declare(variable);
    }
    let (mut params, mut at) = (Vec::new(), 0u64);
    lowering.scopes.push(HashMap::new());
    for param in &kernel.params {
        at = at.next_multiple_of(param.align.max(1));
        lowering.define(&param.name, Name::Variable(Space::Param, at));
        params.push((at, param.clone()));
        at += param.size;
    }
    lowering.body(kernel.body.as_deref().unwrap_or_default(), None)?;
    let end = &mut lowering.blocks[lowering.current].end;
    if matches!(end, End::Open) {
        *end = End::Exit;
    }
    lowering.propagate_copies();
    let mut program = lowering.finish()?;
    program.name = kernel.name.clone();
    program.params = params;
    program.params_size = at;
    program.max_threads = kernel.max_threads.unwrap_or(1024);
    program.files = files;
    Ok(program)
}

impl<'m> Lowering<'m> {
    pub(super) fn find(&self, name: &str) -> Option<&Name> {
        let inner = self.scopes[self.visible..].iter().rev();
        inner.chain(std::iter::once(&self.scopes[0])).find_map(|scope| scope.get(name))
    }

    fn define(&mut self, name: &str, what: Name) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), what);
        }
    }

    pub(super) fn fresh(&mut self, ty: RegisterType) -> u32 {
        self.types.push(ty);
        self.types.len() as u32 - 1
    }

    /// The predicate that stands for the carry flag.
    pub(super) fn carry(&mut self) -> u32 {
        if self.carry.is_none() {
            self.carry = Some(self.fresh(RegisterType::Predicate));
        }
        self.carry.unwrap_or_default()
    }

    /// The space and address of a variable.
    pub(super) fn address(&self, name: &str) -> Option<(Space, u64)> {
        match self.find(name) {
            Some(Name::Variable(space, address)) => Some((*space, *address)),
            Some(Name::DynamicShared) => Some((Space::Shared, 0)),
            _ => self.globals.get(name).map(|&address| (Space::Global, address)),
        }
    }

    pub(super) fn special(&mut self, special: Special) -> u32 {
        let known = self.specials.iter().position(|&s| s == special);
        known.unwrap_or_else(|| {
            self.specials.push(special);
            self.specials.len() - 1
        }) as u32
    }

    pub(super) fn constant(&mut self, bits: u64, wide: bool) -> u32 {
        let Lowering { constant_rows, constants, .. } = self;
        *constant_rows.entry((bits, wide)).or_insert_with(|| push_constant(constants, bits, wide))
    }

    /// The value of a row of wide constants.
    pub(super) fn constant_value(&self, row: u32) -> Option<u64> {
        let row = self.constants.get((row & !CONSTANT) as usize).filter(|_| row & CONSTANT != 0)?;
        Some(row.0[0] as u64 | (row.0[1] as u64) << 32)
    }

    /// A row with the address of a symbol; that of dynamic shared memory is filled in when all shared variables are known.
    pub(super) fn symbol(&mut self, name: &str, address: u64, wide: bool) -> u32 {
        if !matches!(self.find(name), Some(Name::DynamicShared)) {
            return self.constant(address, wide);
        }
        let row = push_constant(&mut self.constants, address, wide);
        self.dynamic.push((row, wide, address));
        row
    }

    fn declare(&mut self, variable: &Variable) {
        let align = variable.align.max(1);
        let name = match variable.space {
            Space::Shared if variable.size == 0 => Name::DynamicShared,
            Space::Shared => {
                let at = self.shared.next_multiple_of(align);
                self.shared = at + variable.size;
                Name::Variable(Space::Shared, at)
            }
            // Parameters of calls live in local memory, as the callee is inlined.
            _ => {
                let at = self.local.next_multiple_of(align.max(4));
                self.local = at + variable.size;
                Name::Variable(Space::Local, at)
            }
        };
        self.define(&variable.name, name);
    }

    fn new_block(&mut self) -> usize {
        let place = self.blocks[self.current].place;
        self.blocks.push(Block { code: Vec::new(), end: End::Open, place });
        self.blocks.len() - 1
    }

    fn end_block(&mut self, end: End, next: usize) {
        let block = &mut self.blocks[self.current].end;
        if matches!(block, End::Open) {
            *block = end;
        }
        self.current = next;
    }

    /// Gives every label of the scope that starts at `from` its block, so that jumps ahead find it.
    fn labels(&mut self, statements: &[Statement]) {
        let mut depth = 0;
        for statement in statements {
            match statement {
                Statement::Open => depth += 1,
                Statement::Close if depth == 0 => return,
                Statement::Close => depth -= 1,
                Statement::Label(name) if depth == 0 => {
                    let block = self.new_block();
                    self.define(name, Name::Block(block));
                }
                Statement::Targets(name, targets) if depth == 0 => self.define(name, Name::Targets(targets.clone())),
                _ => {}
            }
        }
    }

    /// Lowers a body; `ret` jumps to `after`, or exits.
    fn body(&mut self, statements: &'m [Statement], after: Option<usize>) -> Result<()> {
        self.labels(statements);
        for (k, statement) in statements.iter().enumerate() {
            match statement {
                Statement::Open => {
                    self.scopes.push(HashMap::new());
                    self.labels(&statements[k + 1..]);
                }
                Statement::Close => {
                    self.scopes.pop();
                }
                Statement::Label(name) => {
                    if let Some(&Name::Block(block)) = self.find(name) {
                        self.end_block(End::Jump(block), block);
                    }
                }
                Statement::Register { ty, name, count } => match count {
                    None => {
                        let r = self.fresh(*ty);
                        self.define(name, Name::Register(r));
                    }
                    Some(n) => {
                        for i in 0..*n {
                            let r = self.fresh(*ty);
                            self.define(&format!("{name}{i}"), Name::Register(r));
                        }
                    }
                },
                Statement::Variable(variable) => self.declare(variable),
                Statement::Targets(..) => {}
                Statement::Instruction(inst) => self.instruction(inst, after)?,
            }
        }
        Ok(())
    }

    fn block_named(&self, inst: &Instruction, name: &str) -> Result<usize> {
        match self.find(name) {
            Some(&Name::Block(block)) => Ok(block),
            _ => Err(Error::new(inst.line, format!("'{}': no label '{name}'", inst.name()))),
        }
    }

    fn instruction(&mut self, inst: &'m Instruction, after: Option<usize>) -> Result<()> {
        let place =
            Place { line: inst.line, source: inst.source, class: Class::Control, flops: 0, block: 0, barrier: Barrier::No };
        self.blocks[self.current].place = place;
        match inst.opcode[0].as_str() {
            "bra" => {
                let Some(Operand::Name(label)) = inst.operands.first() else {
                    return Err(Error::new(inst.line, "'bra' without a label"));
                };
                let target = self.block_named(inst, label)?;
                self.jump(inst, target)
            }
            "ret" if after.is_some() => self.jump(inst, after.unwrap_or_default()),
            "ret" | "exit" => {
                if inst.guard.is_none() {
                    let next = self.new_block();
                    self.end_block(End::Exit, next);
                    return Ok(());
                }
                let exit = self.new_block();
                self.blocks[exit].end = End::Exit;
                self.jump(inst, exit)
            }
            "brx" => self.indirect(inst),
            "call" => self.call(inst),
            _ => self.simple(inst, place),
        }
    }

    fn jump(&mut self, inst: &Instruction, target: usize) -> Result<()> {
        let next = self.new_block();
        let end = match self.guard(inst)? {
            None => End::Jump(target),
            Some((pred, flip)) => End::Branch { pred, flip, taken: target, next },
        };
        self.end_block(end, next);
        Ok(())
    }

    fn guard(&self, inst: &Instruction) -> Result<Option<(u32, bool)>> {
        let Some((name, negated)) = &inst.guard else { return Ok(None) };
        match self.find(name) {
            Some(Name::Register(r)) if self.types[*r as usize] == RegisterType::Predicate => Ok(Some((*r, *negated))),
            _ => Err(Error::new(inst.line, format!("'{name}' is not a predicate"))),
        }
    }

    /// `brx.idx %r, table;`
    fn indirect(&mut self, inst: &Instruction) -> Result<()> {
        let bad = || Error::new(inst.line, format!("'{}': expected a register and a table of labels", inst.name()));
        let [Operand::Name(index), Operand::Name(table)] = &inst.operands[..] else { return Err(bad()) };
        let (Some(Name::Register(r)), Some(Name::Targets(labels))) = (self.find(index), self.find(table)) else {
            return Err(bad());
        };
        if inst.guard.is_some() {
            return Err(Error::new(inst.line, "'brx.idx' with a guard: the emulator does not know this"));
        }
        let (row, labels) = (VIRTUAL | *r, labels.clone());
        let targets = labels.iter().map(|l| self.block_named(inst, l)).collect::<Result<_>>()?;
        let next = self.new_block();
        self.end_block(End::Indirect { row, targets }, next);
        Ok(())
    }

    fn call(&mut self, inst: &'m Instruction) -> Result<()> {
        let (mut returns, mut name, mut arguments) = (&[][..], None, &[][..]);
        for operand in &inst.operands {
            match operand {
                Operand::List(list) if name.is_none() => returns = list,
                Operand::List(list) => arguments = list,
                Operand::Name(n) if name.is_none() => name = Some(n.as_str()),
                _ => {}
            }
        }
        let bad = |what: String| Error::new(inst.line, format!("'{}': {what}", inst.name()));
        let name = name.ok_or_else(|| bad("no function is named".into()))?;
        let mut places = Vec::new();
        for operand in returns.iter().chain(arguments) {
            let variable = match operand {
                Operand::Name(n) => self.find(n),
                _ => None,
            };
            match variable {
                Some(Name::Variable(space, at)) => places.push((*space, *at)),
                _ => return Err(bad("arguments in registers are not supported".into())),
            }
        }
        if inst.guard.is_some() {
            return Err(bad("a call with a guard is not supported".into()));
        }
        if matches!(name, "vprintf" | "__assertfail") {
            let at = |k: usize| places.get(returns.len() + k).map_or(0, |p| p.1 as u32);
            let exec: Exec = if name == "vprintf" { exec::print } else { exec::assert_fail };
            let place = self.blocks[self.current].place;
            let code = Inst {
                exec,
                ops: [0, at(0), at(1), at(2), at(3)],
                guard: TRUE,
                guard_flip: 0,
                mode: 0,
                imm: 0,
                more: Box::default(),
            };
            self.blocks[self.current].code.push(Low { inst: code, access: Access::default(), place, copy: None, flow: Flow::On });
            return Ok(());
        }
        let Some(&function) = self.functions.get(name) else {
            return Err(bad(format!("'{name}' is not a function of this module (calls through pointers are not supported)")));
        };
        if self.calls.contains(&name) {
            return Err(bad(format!("'{name}' is recursive, which the emulator does not support")));
        }
        let variables: Vec<&Variable> = function.returns.iter().chain(&function.params).collect();
        if variables.len() != places.len() {
            return Err(bad(format!("'{name}' takes another number of arguments")));
        }
        self.calls.push(&function.name);
        let outside = std::mem::replace(&mut self.visible, self.scopes.len());
        self.scopes.push(HashMap::new());
        for (variable, (space, at)) in variables.into_iter().zip(places) {
            self.define(&variable.name, Name::Variable(space, at));
        }
        let after = self.new_block();
        self.body(function.body.as_deref().unwrap_or_default(), Some(after))?;
        self.end_block(End::Jump(after), after);
        self.scopes.truncate(self.visible);
        self.visible = outside;
        self.calls.pop();
        Ok(())
    }

    fn simple(&mut self, inst: &Instruction, mut place: Place) -> Result<()> {
        let guard = self.guard(inst)?;
        let mut decoder = Decoder::new(self, inst);
        exec::decode(&mut decoder)?;
        let Some((exec, ops)) = decoder.emitted else { return Ok(()) };
        (place.class, place.flops, place.barrier) = (decoder.class, decoder.flops, decoder.barrier);
        let (mut access, copy) = (decoder.access, decoder.copy.filter(|_| guard.is_none()));
        let (mode, imm, more) = (decoder.mode, decoder.imm, decoder.more.into_boxed_slice());
        self.warpgroup |= decoder.warpgroup;
        if let Some((pred, _)) = guard {
            // What a guarded instruction leaves alone is still needed from before.
            access.uses.extend_from_slice(&access.defs);
            access.uses.push(pred);
        }
        let (guard, guard_flip) = guard.map_or((TRUE, 0), |(pred, negated)| (VIRTUAL | pred, if negated { u32::MAX } else { 0 }));
        let inst = Inst { exec, ops, guard, guard_flip, mode, imm, more };
        self.blocks[self.current].code.push(Low { inst, access, place, copy, flow: Flow::On });
        Ok(())
    }

    /// Registers that are set once, to a constant or a register that is itself set once, give way to what they hold. In
    /// code from single assignment the copy dominates its uses and its source dominates the copy, so this is always right.
    fn propagate_copies(&mut self) {
        let mut defs = vec![0u32; self.types.len()];
        for low in self.blocks.iter().flat_map(|b| &b.code) {
            low.access.defs.iter().for_each(|&r| defs[r as usize] += 1);
        }
        let mut becomes: HashMap<u32, u32> = HashMap::new();
        for block in &mut self.blocks {
            block.code.retain(|low| {
                let (Some(source), [d]) = (low.copy, &low.access.defs[..]) else { return true };
                let single = |slot: u32| slot & VIRTUAL == 0 || defs[(slot & !VIRTUAL) as usize] == 1;
                if defs[*d as usize] != 1 || !single(source) || self.types[*d as usize] == RegisterType::Predicate {
                    return true;
                }
                becomes.insert(VIRTUAL | *d, source);
                false
            });
        }
        let resolve = |slot: u32| {
            let mut slot = slot;
            while let Some(&next) = becomes.get(&slot) {
                slot = next;
            }
            slot
        };
        for block in &mut self.blocks {
            for low in &mut block.code {
                low.inst.ops.iter_mut().for_each(|s| *s = resolve(*s));
                low.inst.more.iter_mut().for_each(|s| *s = resolve(*s));
                let uses = std::mem::take(&mut low.access.uses);
                let uses = uses.into_iter().map(|r| resolve(VIRTUAL | r)).filter(|s| s & VIRTUAL != 0 && s & CONSTANT == 0);
                low.access.uses = uses.map(|s| s & !VIRTUAL).collect();
            }
            if let End::Indirect { row, .. } = &mut block.end {
                *row = resolve(*row);
            }
        }
    }

    fn finish(mut self) -> Result<Program> {
        let dynamic_shared_at = self.shared.next_multiple_of(16);
        for &(row, wide, added) in &self.dynamic {
            fill_constant(&mut self.constants, row, dynamic_shared_at + added, wide);
        }
        let mut successors: Vec<Vec<usize>> = self
            .blocks
            .iter()
            .map(|b| match &b.end {
                End::Open | End::Exit => vec![],
                End::Jump(to) => vec![*to],
                End::Branch { taken, next, .. } => vec![*taken, *next],
                End::Indirect { targets, .. } => targets.clone(),
            })
            .collect();
        let before = successors.clone();
        let order = layout::order(&mut successors);
        // The latches that layout added, and the edges it led through them.
        for (block, (old, new)) in self.blocks.iter_mut().zip(before.iter().zip(&successors)) {
            match &mut block.end {
                End::Jump(to) => *to = new[0],
                End::Branch { taken, next, .. } => (*taken, *next) = (new[0], new[1]),
                End::Indirect { targets, .. } => targets.clone_from(new),
                End::Open | End::Exit => debug_assert!(old.is_empty()),
            }
        }
        for latch in &successors[self.blocks.len()..] {
            let place = self.blocks[latch[0]].place;
            self.blocks.push(Block { code: Vec::new(), end: End::Jump(latch[0]), place });
        }
        let mut position = vec![usize::MAX; self.blocks.len()];
        order.iter().enumerate().for_each(|(k, &b)| position[b] = k);

        self.terminate(&order);
        let shape: Vec<(Vec<&Access>, Vec<usize>)> = order
            .iter()
            .map(|&b| {
                (self.blocks[b].code.iter().map(|l| &l.access).collect(), successors[b].iter().map(|&s| position[s]).collect())
            })
            .collect();
        let allocation = allocate(&self.types, &shape, self.specials.len() as u32, 2);
        let edges: Vec<Vec<usize>> = shape.into_iter().map(|s| s.1).collect();

        let starts: Vec<usize> = order
            .iter()
            .scan(0, |at, &b| {
                let start = *at;
                *at += self.blocks[b].code.len();
                Some(start)
            })
            .collect();
        let mut after_barrier = Vec::new();
        for (k, &b) in order.iter().enumerate() {
            if self.blocks[b].code.iter().any(|l| l.place.barrier == Barrier::Block) {
                // A block of one instruction is a bare `ret` or a jump: nothing happens there.
                let later = layout::post_dominators(&edges, k).into_iter().filter(|&p| self.blocks[order[p]].code.len() > 1);
                after_barrier.push((k as u32, later.map(|p| p as u32).collect()));
            }
        }
        let (mut code, mut places, mut touches) = (Vec::new(), Vec::new(), Vec::new());
        for (k, &b) in order.iter().enumerate() {
            for mut low in std::mem::take(&mut self.blocks[b].code) {
                let place = |slot: &mut u32| {
                    if *slot & VIRTUAL != 0 && *slot & CONSTANT == 0 {
                        *slot = allocation.slots[(*slot & !VIRTUAL) as usize];
                    }
                };
                if low.flow == Flow::Indirect {
                    place(&mut low.inst.ops[1]);
                    low.inst.more.iter_mut().for_each(|t| *t = starts[position[*t as usize]] as u32);
                } else {
                    low.inst.ops.iter_mut().for_each(place);
                    low.inst.more.iter_mut().for_each(place);
                }
                place(&mut low.inst.guard);
                if low.flow == Flow::Branch {
                    low.inst.imm = starts[position[low.inst.imm as usize]] as i64;
                }
                low.place.block = k as u32;
                if self.warpgroup {
                    touches.push(touch(&low, &self.types, &allocation.slots));
                }
                code.push(low.inst);
                places.push(low.place);
            }
        }
        Ok(Program {
            name: String::new(),
            code,
            places,
            rows: allocation.rows,
            preds: allocation.preds,
            constants: self.constants,
            specials: self.specials,
            static_shared: self.shared,
            dynamic_shared_at,
            local: self.local.next_multiple_of(16),
            params: Vec::new(),
            params_size: 0,
            max_threads: 0,
            registers: allocation.peak,
            after_barrier,
            touches,
            files: Arc::default(),
        })
    }

    /// Turns the ends of blocks into instructions, given the order they will lie in.
    fn terminate(&mut self, order: &[usize]) {
        for (k, &b) in order.iter().enumerate() {
            let follows = order.get(k + 1).copied();
            let place = self.blocks[b].place;
            let push = |exec: Exec, flow: Flow, pred: Option<(u32, bool)>, target: usize, row: u32, more: Vec<u32>| {
                let (guard, flip) = pred.map_or((TRUE, false), |(p, flip)| (VIRTUAL | p, flip));
                let mut access = Access::default();
                access.uses.extend(pred.map(|p| p.0));
                if row & VIRTUAL != 0 && row & CONSTANT == 0 {
                    access.uses.push(row & !VIRTUAL);
                }
                let guard_flip = if flip { u32::MAX } else { 0 };
                let inst = Inst {
                    exec,
                    ops: [0, row, 0, 0, 0],
                    guard,
                    guard_flip,
                    mode: 0,
                    imm: target as i64,
                    more: more.into_boxed_slice(),
                };
                (inst, access, flow)
            };
            let mut added = Vec::new();
            match &self.blocks[b].end {
                End::Open | End::Exit => added.push(push(exec::EXIT, Flow::On, None, 0, 0, vec![])),
                End::Jump(to) if Some(*to) == follows => {}
                End::Jump(to) => added.push(push(exec::BRANCH, Flow::Branch, None, *to, 0, vec![])),
                &End::Branch { pred, flip, taken, next } => {
                    if Some(taken) == follows {
                        added.push(push(exec::BRANCH, Flow::Branch, Some((pred, !flip)), next, 0, vec![]));
                    } else {
                        added.push(push(exec::BRANCH, Flow::Branch, Some((pred, flip)), taken, 0, vec![]));
                        if Some(next) != follows {
                            added.push(push(exec::BRANCH, Flow::Branch, None, next, 0, vec![]));
                        }
                    }
                }
                End::Indirect { row, targets } => {
                    added.push(push(exec::INDIRECT, Flow::Indirect, None, 0, *row, targets.iter().map(|&t| t as u32).collect()));
                }
            }
            let place = Place { class: Class::Control, flops: 0, barrier: Barrier::No, ..place };
            let added = added.into_iter().map(|(inst, access, flow)| Low { inst, access, place, copy: None, flow });
            self.blocks[b].code.extend(added);
        }
    }
}

/// The rows that an instruction touches, once its registers have some.
fn touch(low: &Low, types: &[RegisterType], slots: &[u32]) -> Touch {
    let rows = |registers: &[u32]| {
        let rows = registers.iter().flat_map(|&r| {
            let count = match types[r as usize] {
                RegisterType::Predicate => 0,
                RegisterType::Narrow => 1,
                RegisterType::Wide => 2,
            };
            slots[r as usize]..slots[r as usize] + count
        });
        rows.collect()
    };
    Touch {
        reads: rows(&low.access.uses),
        writes: rows(&low.access.defs),
        copies: low.copy.is_some(),
        product: low.place.class == Class::Matrix && low.place.flops > 0 && low.inst.more.len() == low.access.defs.len(),
    }
}

fn push_constant(constants: &mut Vec<Row>, bits: u64, wide: bool) -> u32 {
    let row = constants.len() as u32;
    constants.resize(constants.len() + 1 + wide as usize, Row([0; 32]));
    fill_constant(constants, row | CONSTANT, bits, wide);
    row | CONSTANT
}

fn fill_constant(constants: &mut [Row], row: u32, bits: u64, wide: bool) {
    let row = (row & !CONSTANT) as usize;
    if wide {
        for half in &mut constants[row..row + 2] {
            half.0.chunks_exact_mut(2).for_each(|cell| cell.copy_from_slice(&[bits as u32, (bits >> 32) as u32]));
        }
    } else {
        constants[row].0 = [bits as u32; 32];
    }
}
