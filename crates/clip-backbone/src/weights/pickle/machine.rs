//! The stack machine: every instruction of protocols 0 to 5, but for extension codes and buffers
//! outside the pickle.

use std::collections::HashMap;

use super::bytes::{Bytes, Step};
use super::calls::Global;
use super::{Id, MAX_INSTRUCTIONS, Node, Pickle, PickleError};

pub(super) struct Machine<'a> {
    bytes: Bytes<'a>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Stack heights at the marks set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: Bytes::new(bytes),
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// The pickle, and its length in bytes.
    pub(super) fn run(mut self) -> Step<(Pickle, usize)> {
        for _ in 0..MAX_INSTRUCTIONS {
            self.bytes.at = self.bytes.next;
            let instruction = self.bytes.byte()?;
            if instruction == b'.' {
                let root = self.pop()?;
                let nodes = self.nodes;
                return Ok((Pickle { nodes, root }, self.bytes.next));
            }
            self.step(instruction)?;
        }
        Err(self.fault(format!("more than {MAX_INSTRUCTIONS} instructions")))
    }

    /// Interprets one instruction; names in the comments are those of Python's `pickletools`.
    fn step(&mut self, instruction: u8) -> Step<()> {
        match instruction {
            // PROTO
            0x80 => {
                let version = self.bytes.byte()?;
                match version {
                    0..=5 => Ok(()),
                    _ => Err(self.fault(format!("pickle protocol {version}"))),
                }
            }
            // FRAME: a length that only helps buffering.
            0x95 => self.bytes.take(8).map(drop),
            // Empty containers, and those of the items down to the mark; a set is kept as a list.
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            // TUPLE, LIST and FROZENSET, DICT
            b't' => {
                let items = self.down_to_mark()?;
                self.push(Node::Tuple(items))
            }
            b'l' | 0x91 => {
                let items = self.down_to_mark()?;
                self.push(Node::List(items))
            }
            b'd' => {
                let items = self.down_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs))
            }
            // TUPLE1, TUPLE2, TUPLE3
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..instruction {
                    items.insert(0, self.pop()?);
                }
                self.push(Node::Tuple(items))
            }
            // APPEND, APPENDS and ADDITEMS, SETITEM, SETITEMS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' | 0x90 => {
                let items = self.down_to_mark()?;
                self.append(&items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[(key, value)])
            }
            b'u' => {
                let items = self.down_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.set_items(&pairs)
            }
            // POP, which takes a mark too; POP_MARK; DUP
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.down_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.recall(top);
                Ok(())
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.bytes.text_line()?, self.bytes.text_line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.global(&module, &name)
            }
            // REDUCE and NEWOBJ, NEWOBJ_EX
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.call(callee, arguments)
            }
            0x92 => {
                self.pop()?;
                let arguments = self.pop()?;
                let class = self.pop()?;
                self.call(class, arguments)
            }
            // INST, OBJ
            b'i' => {
                let (module, name) = (self.bytes.text_line()?, self.bytes.text_line()?);
                let arguments = self.down_to_mark()?;
                self.global(module, name)?;
                self.push(Node::Tuple(arguments))?;
                self.step(b'R')
            }
            b'o' => {
                let mut arguments = self.down_to_mark()?.into_iter();
                let class = arguments.next();
                let class = class.ok_or_else(|| self.fault("an object without a class"))?;
                self.recall(class);
                self.push(Node::Tuple(arguments.collect()))?;
                self.step(b'R')
            }
            // BUILD, BINPERSID
            b'b' => self.build(),
            b'Q' => self.persistent(),
            b'p' | b'q' | b'r' | 0x94 => self.remember(instruction),
            b'g' | b'h' | b'j' => self.recall_memo(instruction),
            _ => self.plain_value(instruction),
        }
    }

    /// The instructions that push a plain value.
    fn plain_value(&mut self, instruction: u8) -> Step<()> {
        let value = match instruction {
            b'N' => Node::None,
            // NEWTRUE, NEWFALSE
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => Node::Int(i32::from_le_bytes(self.bytes.array()?).into()),
            b'K' => Node::Int(self.bytes.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.bytes.array()?).into()),
            0x8a => long(self.bytes.counted::<1>()?),
            0x8b => long(self.bytes.counted::<4>()?),
            // INT and LONG, in decimals; booleans are INT's 00 and 01.
            b'I' | b'L' => match self.bytes.text_line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => digits
                    .trim_end_matches('L')
                    .parse()
                    .map_or(Node::LargeInt, Node::Int),
            },
            // FLOAT, BINFLOAT
            b'F' => Node::Float(self.bytes.text_line()?.parse().unwrap_or(f64::NAN)),
            b'G' => Node::Float(f64::from_be_bytes(self.bytes.array()?)),
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => text(self.bytes.counted::<4>()?).ok_or_else(|| self.not_utf8())?,
            0x8c => text(self.bytes.counted::<1>()?).ok_or_else(|| self.not_utf8())?,
            0x8d => text(self.bytes.counted::<8>()?).ok_or_else(|| self.not_utf8())?,
            // BINSTRING and SHORT_BINSTRING, Python 2's: text or bytes.
            b'T' => text_or_bytes(self.bytes.counted::<4>()?),
            b'U' => text_or_bytes(self.bytes.counted::<1>()?),
            // STRING, quoted, and UNICODE; escapes are kept.
            b'S' => {
                let quoted = String::from_utf8_lossy(self.bytes.line()?);
                Node::Text(quoted.trim_matches(['\'', '"']).to_owned())
            }
            b'V' => Node::Text(String::from_utf8_lossy(self.bytes.line()?).into_owned()),
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' => Node::Bytes(self.bytes.counted::<4>()?.to_vec()),
            b'C' => Node::Bytes(self.bytes.counted::<1>()?.to_vec()),
            0x8e | 0x96 => Node::Bytes(self.bytes.counted::<8>()?.to_vec()),
            other => {
                return Err(self.fault(format!("instruction {other:#04x}, which is not read")));
            }
        };
        self.push(value)
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let (module, name) = (self.bytes.name(module)?, self.bytes.name(name)?);
        self.push(Node::Global {
            name: format!("{module}.{name}"),
            meaning: Global::of(module, name),
        })
    }

    /// Items for a list or a set; those of a subclass are skipped.
    fn append(&mut self, items: &[Id]) -> Step<()> {
        let list = self.top()?;
        match self.node_mut(list) {
            Some(Node::List(list)) => {
                list.extend_from_slice(items);
                Ok(())
            }
            Some(Node::Object { .. }) => Ok(()),
            _ => Err(self.fault("items for something that is not a list")),
        }
    }

    fn set_items(&mut self, pairs: &[(Id, Id)]) -> Step<()> {
        let dict = self.top()?;
        match self.node_mut(dict) {
            Some(Node::Dict(entries) | Node::Object { entries, .. }) => {
                entries.extend_from_slice(pairs);
                Ok(())
            }
            _ => Err(self.fault("entries for something that is not a dict")),
        }
    }

    fn pairs(&self, items: &[Id]) -> Step<Vec<(Id, Id)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.fault("a key without a value"));
        }
        Ok(items
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }

    /// PUT, BINPUT, LONG_BINPUT, MEMOIZE
    fn remember(&mut self, instruction: u8) -> Step<()> {
        let index = match instruction {
            0x94 => self.memo.len() as u32,
            other => self.index(other == b'p', other == b'q')?,
        };
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    /// GET, BINGET, LONG_BINGET
    fn recall_memo(&mut self, instruction: u8) -> Step<()> {
        let index = self.index(instruction == b'g', instruction == b'h')?;
        match self.memo.get(&index) {
            Some(&id) => {
                self.recall(id);
                Ok(())
            }
            None => Err(self.fault(format!("memo {index}, which was never set"))),
        }
    }

    /// A place in the memo: in decimals, one byte or four.
    fn index(&mut self, decimals: bool, short: bool) -> Step<u32> {
        if decimals {
            let digits = self.bytes.text_line()?;
            return digits
                .parse()
                .map_err(|_| self.fault("a place in the memo that is not a number"));
        }
        match short {
            true => Ok(self.bytes.byte()?.into()),
            false => Ok(u32::from_le_bytes(self.bytes.array()?)),
        }
    }

    pub(super) fn push(&mut self, node: Node) -> Step<()> {
        // Each instruction creates at most three objects, so this cannot overflow.
        let id = self.nodes.len() as Id;
        self.nodes.push(node);
        self.stack.push(id);
        Ok(())
    }

    /// An object that exists already, on the stack.
    pub(super) fn recall(&mut self, id: Id) {
        self.stack.push(id);
    }

    pub(super) fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.fault("an empty stack"));
        }
        self.stack.pop().ok_or_else(|| self.fault("an empty stack"))
    }

    pub(super) fn top(&self) -> Step<Id> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| self.fault("an empty stack"))
    }

    fn down_to_mark(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => Err(self.fault("no mark on the stack")),
        }
    }

    fn pop_text(&mut self) -> Step<String> {
        let id = self.pop()?;
        match self.node(id) {
            Node::Text(text) => self.bytes.name(text).map(str::to_owned),
            _ => Err(self.fault("a name that is not a string")),
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Step<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Ok(items),
            _ => Err(self.fault("something that should be a tuple")),
        }
    }

    pub(super) fn int(&self, id: Id) -> Step<i64> {
        match self.node(id) {
            Node::Int(value) => Ok(*value),
            _ => Err(self.fault("something that should be an integer")),
        }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }

    pub(super) fn node_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)
    }

    fn not_utf8(&self) -> PickleError {
        self.fault("a string that is not UTF-8")
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> PickleError {
        self.bytes.fault(reason)
    }
}

/// A little-endian integer in two's complement.
fn long(bytes: &[u8]) -> Node {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut value = [if negative { 0xff } else { 0 }; 8];
    match value.get_mut(..bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => return Node::LargeInt,
    }
    Node::Int(i64::from_le_bytes(value))
}

fn text(bytes: &[u8]) -> Option<Node> {
    Some(Node::Text(std::str::from_utf8(bytes).ok()?.to_owned()))
}

fn text_or_bytes(bytes: &[u8]) -> Node {
    text(bytes).unwrap_or_else(|| Node::Bytes(bytes.to_vec()))
}
