//! PTX text to tree, by recursive descent.

use super::lexer::{Token, tokens};
use super::*;

/// Reads a module.
pub fn parse(text: &str) -> Result<Module, Error> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, source: (0, 0), module: Module::default() };
    parser.module()?;
    Ok(parser.module)
}

struct Parser<'a> {
    tokens: &'a [(Token<'a>, u32)],
    at: usize,
    source: (u32, u32),
    module: Module,
}

type Result<T, E = Error> = std::result::Result<T, E>;

impl<'a> Parser<'a> {
    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |t| t.1)
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::new(self.line(), message))
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    fn next(&mut self) -> Result<Token<'a>> {
        let token = self.peek().ok_or_else(|| Error::new(self.line(), "the text ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    fn is(&mut self, c: char) -> bool {
        let yes = self.peek() == Some(Token::Punct(c));
        self.at += yes as usize;
        yes
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.is(c) { Ok(()) } else { self.error(format!("expected '{c}', found {:?}", self.peek())) }
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.next()? {
            Token::Word(w) => Ok(w),
            other => {
                self.at -= 1;
                self.error(format!("expected a name, found {other:?}"))
            }
        }
    }

    fn integer(&mut self) -> Result<i64> {
        let negative = self.is('-');
        match self.next()? {
            Token::Integer(v) => Ok(if negative { v.wrapping_neg() } else { v }),
            other => {
                self.at -= 1;
                self.error(format!("expected a number, found {other:?}"))
            }
        }
    }

    fn skip_past(&mut self, c: char) -> Result<()> {
        while self.next()? != Token::Punct(c) {}
        Ok(())
    }

    fn module(&mut self) -> Result<()> {
        let mut external = false;
        while let Some(token) = self.peek() {
            let Token::Word(word) = token else { return self.error(format!("unexpected {token:?} outside functions")) };
            match word {
                ".version" | ".address_size" => {
                    self.at += 2;
                }
                ".target" => {
                    self.at += 1;
                    let target = self.word()?;
                    let digits: String = target.chars().filter(char::is_ascii_digit).collect();
                    self.module.target = digits.parse().or_else(|_| self.error(format!("unknown target '{target}'")))?;
                    while self.is(',') {
                        self.word()?;
                    }
                }
                ".file" => self.file()?,
                ".loc" => self.loc()?,
                ".section" => {
                    self.skip_past('{')?;
                    self.skip_past('}')?;
                }
                ".pragma" | ".alias" => self.skip_past(';')?,
                ".visible" | ".weak" | ".common" => {
                    self.at += 1;
                }
                ".extern" => {
                    external = true;
                    self.at += 1;
                }
                ".entry" | ".func" => {
                    let function = self.function()?;
                    self.module.functions.push(function);
                    external = false;
                }
                _ => {
                    let variable = self.variable(external)?;
                    self.expect(';')?;
                    self.module.variables.push(variable);
                    external = false;
                }
            }
        }
        Ok(())
    }

    fn file(&mut self) -> Result<()> {
        self.at += 1;
        let number = self.integer()? as u32;
        let Token::Text(name) = self.next()? else { return self.error("expected a file name") };
        self.module.files.push((number, name.to_string()));
        while self.is(',') {
            self.integer()?;
        }
        Ok(())
    }

    fn loc(&mut self) -> Result<()> {
        self.at += 1;
        self.source = (self.integer()? as u32, self.integer()? as u32);
        self.integer()?;
        // `, function_name label+n, inlined_at file line column`: the place itself is already read.
        while self.is(',') {
            match self.word()? {
                "function_name" => {
                    self.word()?;
                    if self.is('+') {
                        self.integer()?;
                    }
                }
                "inlined_at" => {
                    for _ in 0..3 {
                        self.integer()?;
                    }
                }
                other => return self.error(format!("unknown word '{other}' in .loc")),
            }
        }
        Ok(())
    }

    /// `.global .align 4 .b8 name[4][8] = {…}`, also parameters; the terminator is left.
    fn variable(&mut self, external: bool) -> Result<Variable> {
        let (mut space, mut align, mut element, mut vector, mut type_name) = (None, None, None, 1, "");
        let name = loop {
            let word = self.word()?;
            if !word.starts_with('.') {
                break word;
            }
            match word {
                ".global" | ".const" | ".tex" => space = Some(Space::Global),
                ".shared" => space = Some(Space::Shared),
                ".local" => space = Some(Space::Local),
                ".param" => space = Some(Space::Param),
                // `.param .u64 .ptr .global .align 8 name`: the pointee's space and alignment say nothing about the parameter.
                ".ptr" => {
                    while let Some(Token::Word(".global" | ".const" | ".shared" | ".local" | ".align")) = self.peek() {
                        if self.word()? == ".align" {
                            self.integer()?;
                        }
                    }
                }
                ".align" => align = Some(self.integer()? as u64),
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                ".attribute" => self.skip_past(')')?,
                ".reg" => space = Some(Space::Param),
                _ => {
                    type_name = &word[1..];
                    element = type_size(type_name);
                    if element.is_none() {
                        self.at -= 1;
                        return self.error(format!("unknown word '{word}' in a declaration"));
                    }
                }
            }
        };
        let Some(space) = space else { return self.error(format!("'{name}' has no state space")) };
        let Some(element) = element else { return self.error(format!("'{name}' has no type")) };
        let mut size = Some(element * vector);
        while self.is('[') {
            if self.is(']') {
                size = None;
            } else {
                let n = self.integer()? as u64;
                size = size.map(|s| s * n);
                self.expect(']')?;
            }
        }
        let (mut initial, mut addresses) = (Vec::new(), Vec::new());
        if self.is('=') {
            self.initializer(element as usize, type_name, &mut initial, &mut addresses)?;
        }
        let size = size.unwrap_or(initial.len() as u64);
        let align = align.unwrap_or(element * vector);
        Ok(Variable { name: name.to_string(), space, align, size, external, initial, addresses })
    }

    fn initializer(
        &mut self,
        element: usize,
        ty: &str,
        out: &mut Vec<u8>,
        addresses: &mut Vec<(usize, String, i64)>,
    ) -> Result<()> {
        if self.is('{') {
            loop {
                self.initializer(element, ty, out, addresses)?;
                if !self.is(',') {
                    break;
                }
            }
            return self.expect('}');
        }
        let negative = self.is('-');
        let value = match self.next()? {
            Token::Integer(v) if ty.starts_with('f') => (v as f64).to_bits(),
            Token::Integer(v) => v as u64,
            Token::F32(v) => v as u64,
            Token::F64(v) if ty == "f32" => (f64::from_bits(v) as f32).to_bits() as u64,
            Token::F64(v) => v,
            Token::Word(name) => {
                let mut name = name;
                if name == "generic" {
                    self.expect('(')?;
                    name = self.word()?;
                    self.expect(')')?;
                }
                let added = if self.is('+') { self.integer()? } else { 0 };
                addresses.push((out.len(), name.to_string(), added));
                0
            }
            other => return self.error(format!("unexpected {other:?} in an initialiser")),
        };
        let value = if negative { value.wrapping_neg() } else { value };
        out.extend_from_slice(&value.to_le_bytes()[..element]);
        Ok(())
    }

    fn params(&mut self) -> Result<Vec<Variable>> {
        let mut params = Vec::new();
        if !self.is('(') || self.is(')') {
            return Ok(params);
        }
        loop {
            params.push(self.variable(false)?);
            if !self.is(',') {
                break;
            }
        }
        self.expect(')')?;
        Ok(params)
    }

    fn function(&mut self) -> Result<Function> {
        let line = self.line();
        let entry = self.word()? == ".entry";
        let returns = if entry { Vec::new() } else { self.params()? };
        let name = self.word()?.to_string();
        let params = self.params()?;
        let mut max_threads = None;
        let body = loop {
            if self.is(';') {
                break None;
            }
            if self.is('{') {
                break Some(self.body()?);
            }
            match self.word()? {
                ".maxntid" => {
                    let mut product = self.integer()?;
                    while self.is(',') {
                        product *= self.integer()?;
                    }
                    max_threads = Some(product as u32);
                }
                ".reqntid" | ".minnctapersm" | ".maxnreg" | ".maxnctapersm" | ".reqnctapercluster" => {
                    self.integer()?;
                    while self.is(',') {
                        self.integer()?;
                    }
                }
                ".noreturn" | ".explicitcluster" => {}
                ".pragma" => self.skip_past(';')?,
                other => {
                    self.at -= 1;
                    return self.error(format!("unknown directive '{other}' of function '{name}'"));
                }
            }
        };
        Ok(Function { name, entry, returns, params, body, line, max_threads })
    }

    fn body(&mut self) -> Result<Vec<Statement>> {
        let mut out = Vec::new();
        let mut depth = 0;
        self.source = (0, 0);
        loop {
            if self.is('{') {
                depth += 1;
                out.push(Statement::Open);
                continue;
            }
            if self.is('}') {
                if depth == 0 {
                    return Ok(out);
                }
                depth -= 1;
                out.push(Statement::Close);
                continue;
            }
            if self.is(';') {
                continue;
            }
            match self.peek() {
                Some(Token::Word(".loc")) => self.loc()?,
                Some(Token::Word(".pragma")) => self.skip_past(';')?,
                Some(Token::Word(".reg")) => self.registers(&mut out)?,
                Some(Token::Word(w)) if w.starts_with('.') => {
                    let variable = self.variable(false)?;
                    self.expect(';')?;
                    out.push(Statement::Variable(variable));
                }
                Some(Token::Word(w)) if self.tokens.get(self.at + 1).map(|t| t.0) == Some(Token::Punct(':')) => {
                    self.at += 2;
                    if self.peek() == Some(Token::Word(".branchtargets")) {
                        self.at += 1;
                        let mut targets = vec![self.word()?.to_string()];
                        while self.is(',') {
                            targets.push(self.word()?.to_string());
                        }
                        self.expect(';')?;
                        out.push(Statement::Targets(w.to_string(), targets));
                    } else if self.peek() == Some(Token::Word(".callprototype")) {
                        self.skip_past(';')?;
                    } else {
                        out.push(Statement::Label(w.to_string()));
                    }
                }
                _ => {
                    let instruction = self.instruction()?;
                    out.push(Statement::Instruction(instruction));
                }
            }
        }
    }

    fn registers(&mut self, out: &mut Vec<Statement>) -> Result<()> {
        self.at += 1;
        let word = self.word()?;
        let ty = match &word[1..] {
            "pred" => RegisterType::Predicate,
            other => match type_size(other) {
                Some(2 | 4) => RegisterType::Narrow,
                Some(8) => RegisterType::Wide,
                _ => return self.error(format!("registers of type '{word}' are not supported")),
            },
        };
        loop {
            let name = self.word()?.to_string();
            let count = if self.is('<') {
                let n = self.integer()? as u32;
                self.expect('>')?;
                Some(n)
            } else {
                None
            };
            out.push(Statement::Register { ty, name, count });
            if !self.is(',') {
                return self.expect(';');
            }
        }
    }

    fn instruction(&mut self) -> Result<Instruction> {
        let line = self.line();
        let guard = if self.is('@') {
            let negated = self.is('!');
            Some((self.word()?.to_string(), negated))
        } else {
            None
        };
        let opcode = self.word()?.split('.').map(str::to_string).collect();
        let mut operands = Vec::new();
        if !self.is(';') {
            loop {
                operands.push(self.operand()?);
                if !self.is(',') {
                    break;
                }
            }
            self.expect(';')?;
        }
        Ok(Instruction { line, source: self.source, guard, opcode, operands })
    }

    fn list(&mut self, end: char) -> Result<Vec<Operand>> {
        let mut list = Vec::new();
        if self.is(end) {
            return Ok(list);
        }
        loop {
            list.push(self.operand()?);
            if !self.is(',') {
                break;
            }
        }
        self.expect(end)?;
        Ok(list)
    }

    fn operand(&mut self) -> Result<Operand> {
        if self.is('{') {
            return Ok(Operand::Vector(self.list('}')?));
        }
        if self.is('(') {
            return Ok(Operand::List(self.list(')')?));
        }
        if self.is('!') {
            return Ok(Operand::Not(self.word()?.to_string()));
        }
        if self.is('[') {
            let address = if let Some(Token::Word(name)) = self.peek() {
                self.at += 1;
                let offset = if self.is('+') || self.peek() == Some(Token::Punct('-')) { self.integer()? } else { 0 };
                if self.is(',') {
                    self.expect('{')?;
                    let coordinates = self.list('}')?;
                    self.expect(']')?;
                    return Ok(Operand::Tensor(name.to_string(), offset, coordinates));
                }
                Operand::Address(Some(name.to_string()), offset)
            } else {
                Operand::Address(None, self.integer()?)
            };
            self.expect(']')?;
            return Ok(address);
        }
        let negative = self.is('-');
        let first = match self.next()? {
            Token::Integer(v) => Operand::Integer(if negative { v.wrapping_neg() } else { v }),
            Token::F32(v) => Operand::F32(v ^ (negative as u32) << 31),
            Token::F64(v) => Operand::F64(v ^ (negative as u64) << 63),
            Token::Word(name) if !negative => {
                if self.is('+') {
                    let added = self.integer()?;
                    return Ok(Operand::Address(Some(name.to_string()), added));
                }
                Operand::Name(name.to_string())
            }
            other => {
                self.at -= 1;
                return self.error(format!("unexpected {other:?} as an operand"));
            }
        };
        if self.is('|') {
            let second = self.operand()?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }
}

/// Bytes of a type without its dot.
fn type_size(name: &str) -> Option<u64> {
    Some(match name {
        "b8" | "u8" | "s8" | "pred" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}
