//! Reads Python pickles without running anything.
//!
//! A pickle is a program for a small stack machine that may name any Python function and call
//! it. This reader interprets only the instructions that `torch.save` and `torch.jit.save`
//! write, and knows only the names a checkpoint of tensors needs; every other name is an
//! error. Nothing is ever called: a tensor becomes a [`TensorSpec`] with the location of its
//! data. The objects are kept in one flat list and refer to each other by index, so that
//! neither deep nesting nor repeated references cost more than the pickle's own length.

use std::collections::HashMap;

use tch::Kind;

/// The longest pickle read, in bytes: a state dict of ten thousand tensors takes about 2 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// The most instructions interpreted.
pub const MAX_INSTRUCTIONS: usize = 1 << 22;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// The fault of a refused pickle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct PickleError {
    /// The offset in the pickle, in bytes.
    pub at: usize,
    /// The fault.
    pub reason: String,
}

/// A tensor as described by a pickle; its data is elsewhere in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name of the storage that holds the data.
    pub storage: String,
    /// The storage's element type.
    pub kind: Kind,
    /// The storage's length in elements, as the pickle claims it.
    pub storage_length: i64,
    /// The first element's position in the storage.
    pub offset: i64,
    /// Extent of each dimension.
    pub shape: Vec<i64>,
    /// Elements between neighbours in each dimension.
    pub strides: Vec<i64>,
}

/// A pickle's objects.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

/// One object of a [`Pickle`].
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    pickle: &'a Pickle,
    id: Id,
}

/// The type of a [`Value`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Form<'a> {
    /// Python's `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A list or a tuple; see [`Value::items`].
    Sequence,
    /// A dict, ordered or not; see [`Value::entries`].
    Dict,
    /// A tensor.
    Tensor(&'a TensorSpec),
    /// An object of a TorchScript class; its attributes are its [`Value::entries`].
    Object {
        /// The class, `__torch__.…`.
        class: &'a str,
    },
    /// A bare name, such as a data type.
    Name(&'a str),
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// [`PickleError`] with the byte at which the pickle ends early, exceeds a limit, uses
    /// an instruction unknown to this reader or names anything but tensors and plain values.
    pub fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        if bytes.len() > MAX_BYTES {
            return Err(PickleError {
                at: 0,
                reason: format!("{} bytes long; at most {MAX_BYTES} are read", bytes.len()),
            });
        }
        Machine::new(bytes).run()
    }

    /// The outermost object.
    pub fn root(&self) -> Value<'_> {
        Value {
            pickle: self,
            id: self.root,
        }
    }
}

impl<'a> Value<'a> {
    /// The type of this object.
    pub fn form(self) -> Form<'a> {
        match self.node() {
            Node::None => Form::None,
            Node::Bool(value) => Form::Bool(*value),
            Node::Int(value) => Form::Int(*value),
            Node::Float(value) => Form::Float(*value),
            Node::Text(value) => Form::Text(value),
            Node::Bytes(value) => Form::Bytes(value),
            Node::List(_) | Node::Tuple(_) => Form::Sequence,
            Node::Dict(_) => Form::Dict,
            Node::Tensor(spec) => Form::Tensor(spec),
            Node::Object { class, .. } => Form::Object { class },
            Node::Global(global) => Form::Name(global.spelling()),
            Node::Storage { storage, .. } => Form::Name(storage),
            Node::Inert(name) => Form::Name(name),
        }
    }

    /// Keys and values of a dict, names and values of an object's attributes; otherwise none.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let id = match self.node() {
            Node::Object {
                state: Some(state), ..
            } => *state,
            _ => self.id,
        };
        let entries: &'a [(Id, Id)] = match self.pickle.nodes.get(id as usize) {
            Some(Node::Dict(entries)) => entries,
            _ => &[],
        };
        let at = move |id| Value {
            pickle: self.pickle,
            id,
        };
        entries
            .iter()
            .map(move |&(key, value)| (at(key), at(value)))
    }

    /// The elements of a list or a tuple; otherwise none.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        let items: &'a [Id] = match self.node() {
            Node::List(items) | Node::Tuple(items) => items,
            _ => &[],
        };
        items.iter().map(move |&id| Value {
            pickle: self.pickle,
            id,
        })
    }

    /// The entry of a dict, or the attribute of an object, that is called `key`.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        // The last of several wins, as it does in Python.
        self.entries()
            .filter(|(name, _)| matches!(name.form(), Form::Text(text) if text == key))
            .last()
            .map(|(_, value)| value)
    }

    fn node(self) -> &'a Node {
        self.pickle
            .nodes
            .get(self.id as usize)
            .unwrap_or(&Node::None)
    }
}

type Id = u32;

#[derive(Debug)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage {
        storage: String,
        kind: Kind,
        length: i64,
    },
    Tensor(TensorSpec),
    Object {
        class: String,
        state: Option<Id>,
    },
    Inert(String),
}

/// The names this reader knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Global {
    OrderedDict,
    Storage(Kind),
    RebuildTensor,
    RebuildParameter,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch.device`: kept as a name.
    Device,
    /// A data type, such as `torch.float32`.
    DataType(String),
    /// TorchScript's marks of a list's element type: the first argument itself.
    TypeMark(String),
    /// A TorchScript class, compiled from user code: `__torch__.…`.
    Script(String),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Self> {
        let full = || format!("{module}.{name}");
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            (
                "torch",
                "float32" | "float16" | "bfloat16" | "float64" | "int64" | "int32" | "int16"
                | "int8" | "uint8" | "bool",
            ) => Self::DataType(full()),
            ("torch", storage) => Self::Storage(storage_kind(storage)?),
            (
                "torch.jit._pickle",
                "restore_type_tag" | "build_intlist" | "build_doublelist" | "build_boollist"
                | "build_tensorlist",
            ) => Self::TypeMark(full()),
            _ if module == "__torch__" || module.starts_with("__torch__.") => Self::Script(full()),
            _ => return None,
        })
    }

    fn spelling(&self) -> &str {
        match self {
            Self::OrderedDict => "collections.OrderedDict",
            Self::Storage(_) => "torch storage",
            Self::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::Size => "torch.Size",
            Self::Device => "torch.device",
            Self::DataType(name) | Self::TypeMark(name) | Self::Script(name) => name,
        }
    }
}

fn storage_kind(name: &str) -> Option<Kind> {
    Some(match name {
        "FloatStorage" => Kind::Float,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "DoubleStorage" => Kind::Double,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    /// The offset of the next instruction or argument.
    next: usize,
    /// The offset of the current instruction, for messages.
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Stack heights at the marks set.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step<T> = Result<T, PickleError>;

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    fn run(mut self) -> Step<Pickle> {
        for _ in 0..MAX_INSTRUCTIONS {
            self.at = self.next;
            let instruction = self.byte()?;
            if instruction == b'.' {
                let root = self.pop()?;
                return Ok(Pickle {
                    nodes: self.nodes,
                    root,
                });
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
                let version = self.byte()?;
                if version > 5 {
                    return Err(self.fault(format!("pickle protocol {version}")));
                }
            }
            // FRAME: a length that only helps buffering.
            0x95 => {
                self.take(8)?;
            }
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = self.byte()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = self.byte()?;
                let value = self.long(length.into())?;
                self.push(Node::Int(value))?;
            }
            // BINFLOAT
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))?;
            }
            // BINUNICODE, SHORT_BINUNICODE; BINSTRING, SHORT_BINSTRING are Python 2's.
            b'X' | b'T' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length as usize)?;
            }
            0x8c | b'U' => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            // BINBYTES, SHORT_BINBYTES
            b'B' => {
                let length = u32::from_le_bytes(self.array()?);
                let bytes = self.take(length as usize)?.to_vec();
                self.push(Node::Bytes(bytes))?;
            }
            b'C' => {
                let length = self.byte()?;
                let bytes = self.take(length.into())?.to_vec();
                self.push(Node::Bytes(bytes))?;
            }
            // Empty containers, MARK and what gathers down to it.
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.down_to_mark()?;
                self.push(Node::Tuple(items))?;
            }
            b'l' => {
                let items = self.down_to_mark()?;
                self.push(Node::List(items))?;
            }
            b'd' => {
                let items = self.down_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs))?;
            }
            // TUPLE1, TUPLE2, TUPLE3
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..instruction {
                    items.insert(0, self.pop()?);
                }
                self.push(Node::Tuple(items))?;
            }
            // APPEND, APPENDS, SETITEM, SETITEMS
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.down_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[(key, value)])?;
            }
            b'u' => {
                let items = self.down_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.set_items(&pairs)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE; BINGET, LONG_BINGET
            b'q' => {
                let index = self.byte()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                self.remember(index)?;
            }
            0x94 => {
                let index = self.memo.len() as u32;
                self.remember(index)?;
            }
            b'h' => {
                let index = self.byte()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.name(&module, &name)?;
            }
            0x93 => {
                let name = self.pop_text()?;
                let module = self.pop_text()?;
                self.name(&module, &name)?;
            }
            // BINPERSID, REDUCE, NEWOBJ, BUILD
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            other => {
                return Err(self.fault(format!(
                    "instruction {other:#04x}, which no checkpoint of tensors needs"
                )));
            }
        }
        Ok(())
    }

    /// A persistent id: `("storage", type, key, device, length)`.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let parts = self.tuple(id)?.to_vec();
        let &[mark, kind, key, _device, length] = parts.as_slice() else {
            return Err(self.fault("a persistent id that is not a storage"));
        };
        if !matches!(self.node(mark), Node::Text(text) if text == "storage") {
            return Err(self.fault("a persistent id that is not a storage"));
        }
        let Node::Global(Global::Storage(kind)) = self.node(kind) else {
            return Err(self.fault("a storage of unknown type"));
        };
        let (kind, length) = (*kind, self.int(length)?);
        let Node::Text(storage) = self.node(key) else {
            return Err(self.fault("a storage without a name"));
        };
        if length < 0 {
            return Err(self.fault(format!("a storage of {length} elements")));
        }
        let storage = storage.clone();
        self.push(Node::Storage {
            storage,
            kind,
            length,
        })
    }

    /// A call; only the known ones are accepted.
    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let callee = self.pop()?;
        let arguments = self.tuple(arguments)?.to_vec();
        let Node::Global(global) = self.node(callee) else {
            return Err(self.fault("a call of something that is not a function"));
        };
        match global.clone() {
            Global::OrderedDict => {
                let mut pairs = Vec::new();
                if let Some(&list) = arguments.first() {
                    let Node::List(items) = self.node(list) else {
                        return Err(self.fault("an OrderedDict of something that is not a list"));
                    };
                    for &item in items {
                        let &[key, value] = self.tuple(item)? else {
                            return Err(self.fault("an OrderedDict of items that are not pairs"));
                        };
                        pairs.push((key, value));
                    }
                }
                self.push(Node::Dict(pairs))
            }
            Global::RebuildTensor => {
                let spec = self.tensor(&arguments)?;
                self.push(Node::Tensor(spec))
            }
            Global::RebuildParameter | Global::Size | Global::TypeMark(_) => {
                match arguments.first() {
                    Some(&first) => {
                        self.stack.push(first);
                        Ok(())
                    }
                    None => Err(self.fault("a call without arguments")),
                }
            }
            Global::Device => {
                let name = match arguments.first().map(|&first| self.node(first)) {
                    Some(Node::Text(name)) => name.clone(),
                    _ => return Err(self.fault("a device without a name")),
                };
                self.push(Node::Inert(name))
            }
            other => Err(self.fault(format!("a call of {}", other.spelling()))),
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
    fn tensor(&self, arguments: &[Id]) -> Step<TensorSpec> {
        let &[storage, offset, size, stride, ..] = arguments else {
            return Err(self.fault("a tensor of fewer than four parts"));
        };
        let Node::Storage {
            storage,
            kind,
            length,
        } = self.node(storage)
        else {
            return Err(self.fault("a tensor without a storage"));
        };
        let offset = self.int(offset)?;
        let integers =
            |id| -> Step<Vec<i64>> { self.tuple(id)?.iter().map(|&id| self.int(id)).collect() };
        let (shape, strides) = (integers(size)?, integers(stride)?);
        let spec = TensorSpec {
            storage: storage.clone(),
            kind: *kind,
            storage_length: *length,
            offset,
            shape,
            strides,
        };
        if spec.fits() {
            Ok(spec)
        } else {
            Err(self.fault(format!(
                "a tensor of shape {:?}, strides {:?} and offset {} in a storage of {} elements",
                spec.shape, spec.strides, spec.offset, spec.storage_length
            )))
        }
    }

    /// An object of a TorchScript class; no other is created this way in a checkpoint.
    fn new_object(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let class = self.pop()?;
        self.tuple(arguments)?;
        match self.node(class) {
            Node::Global(Global::Script(class)) => {
                let class = class.clone();
                self.push(Node::Object { class, state: None })
            }
            Node::Global(global) => {
                let reason = format!("an object of {}", global.spelling());
                Err(self.fault(reason))
            }
            _ => Err(self.fault("an object without a class")),
        }
    }

    /// Attributes: kept for an object, skipped for a dict (a state dict's `_metadata`).
    fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.nodes.get_mut(target as usize) {
            Some(Node::Object { state: held, .. }) => {
                *held = Some(state);
                Ok(())
            }
            Some(Node::Dict(_)) => Ok(()),
            _ => Err(self.fault("attributes for something that has none")),
        }
    }

    fn name(&mut self, module: &str, name: &str) -> Step<()> {
        match Global::find(module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(self.fault(format!(
                "the name {module}.{name}: only tensors and plain values are read"
            ))),
        }
    }

    fn append(&mut self, items: &[Id]) -> Step<()> {
        let list = self.top()?;
        match self.nodes.get_mut(list as usize) {
            Some(Node::List(list)) => {
                list.extend_from_slice(items);
                Ok(())
            }
            _ => Err(self.fault("items for something that is not a list")),
        }
    }

    fn set_items(&mut self, pairs: &[(Id, Id)]) -> Step<()> {
        let dict = self.top()?;
        match self.nodes.get_mut(dict as usize) {
            Some(Node::Dict(dict)) => {
                dict.extend_from_slice(pairs);
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

    fn remember(&mut self, index: u32) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Step<()> {
        match self.memo.get(&index) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.fault(format!("memo {index}, which was never set"))),
        }
    }

    fn push(&mut self, node: Node) -> Step<()> {
        // Each instruction creates at most one object, so this cannot overflow.
        let id = self.nodes.len() as Id;
        self.nodes.push(node);
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.fault("an empty stack"));
        }
        self.stack.pop().ok_or_else(|| self.fault("an empty stack"))
    }

    fn top(&self) -> Step<Id> {
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
            Node::Text(text) => Ok(text.clone()),
            _ => Err(self.fault("a name that is not a string")),
        }
    }

    fn tuple(&self, id: Id) -> Step<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Ok(items),
            _ => Err(self.fault("something that should be a tuple")),
        }
    }

    fn int(&self, id: Id) -> Step<i64> {
        match self.node(id) {
            Node::Int(value) => Ok(*value),
            _ => Err(self.fault("something that should be an integer")),
        }
    }

    fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }

    fn text(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| self.fault("a string that is not UTF-8"))?
            .to_owned();
        self.push(Node::Text(text))
    }

    fn line(&mut self) -> Step<String> {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.fault("a name without an end"));
        };
        let line = std::str::from_utf8(&rest[..length])
            .map_err(|_| self.fault("a name that is not UTF-8"))?
            .to_owned();
        self.next += length + 1;
        Ok(line)
    }

    /// A little-endian integer in two's complement.
    fn long(&mut self, length: usize) -> Step<i64> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(self.fault("an integer of more than 64 bits"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut value = [if negative { 0xff } else { 0 }; 8];
        value[..length].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(value))
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.take(N)?;
        bytes
            .try_into()
            .map_err(|_| self.fault("the pickle ends early"))
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let end = self.next.checked_add(length);
        match end.and_then(|end| self.bytes.get(self.next..end)) {
            Some(bytes) => {
                self.next += length;
                Ok(bytes)
            }
            None => Err(self.fault("the pickle ends early")),
        }
    }

    fn fault(&self, reason: impl Into<String>) -> PickleError {
        PickleError {
            at: self.at,
            reason: reason.into(),
        }
    }
}

impl TensorSpec {
    /// Whether every element is in the storage, and the tensor is not larger than the storage
    /// through repeated elements.
    fn fits(&self) -> bool {
        if self.shape.len() != self.strides.len() || self.shape.len() > MAX_RANK {
            return false;
        }
        if self.offset < 0 || self.shape.iter().chain(&self.strides).any(|&n| n < 0) {
            return false;
        }
        let count = self
            .shape
            .iter()
            .try_fold(1i64, |count, &n| count.checked_mul(n));
        match count {
            Some(0) => true,
            Some(count) if count <= self.storage_length => {
                let last = self
                    .shape
                    .iter()
                    .zip(&self.strides)
                    .try_fold(self.offset, |at, (&n, &stride)| {
                        at.checked_add((n - 1).checked_mul(stride)?)
                    });
                last.is_some_and(|last| last < self.storage_length)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Pickle, PickleError> {
        Pickle::parse(bytes)
    }

    #[test]
    fn plain_values_as_python_writes_them() {
        // pickle.dumps({"epoch": 7, "best": [0.5, None, True, -3], "t": (1, 300, 70000)}, 2)
        let bytes = b"\x80\x02}q\x00(X\x05\x00\x00\x00epochq\x01K\x07X\x04\x00\x00\x00bestq\x02\
            ]q\x03(G?\xe0\x00\x00\x00\x00\x00\x00N\x88J\xfd\xff\xff\xffeX\x01\x00\x00\x00tq\x04\
            K\x01M,\x01Jp\x11\x01\x00\x87q\x05u.";
        let pickle = parse(bytes).unwrap();
        let root = pickle.root();
        assert!(matches!(root.get("epoch").unwrap().form(), Form::Int(7)));
        let best: Vec<_> = root.get("best").unwrap().items().map(Value::form).collect();
        assert!(matches!(
            best.as_slice(),
            [
                Form::Float(0.5),
                Form::None,
                Form::Bool(true),
                Form::Int(-3)
            ]
        ));
        let last = root.get("t").unwrap().items().last().unwrap().form();
        assert!(matches!(last, Form::Int(70_000)));
        assert!(root.get("missing").is_none());
    }

    #[test]
    fn a_list_that_holds_itself_is_read_and_never_expanded() {
        let pickle = parse(b"\x80\x02]q\x00h\x00a.").unwrap();
        let inner = pickle.root().items().next().unwrap();
        assert_eq!(inner.items().count(), 1);
    }

    #[test]
    fn a_negative_stride_or_an_outgrown_storage_does_not_fit() {
        let spec = |offset, shape: &[i64], strides: &[i64]| TensorSpec {
            storage: "0".into(),
            kind: Kind::Float,
            storage_length: 12,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        };
        assert!(spec(0, &[3, 4], &[4, 1]).fits());
        assert!(spec(0, &[4, 3], &[1, 4]).fits());
        assert!(spec(11, &[], &[]).fits());
        assert!(spec(99, &[0, 4], &[4, 1]).fits());
        for bad in [
            spec(1, &[3, 4], &[4, 1]),
            spec(-1, &[2], &[1]),
            spec(0, &[2], &[-1]),
            spec(12, &[], &[]),
            spec(0, &[13], &[0]),
            spec(0, &[i64::MAX, i64::MAX], &[1, 1]),
            spec(0, &[2, 2], &[i64::MAX, 1]),
            spec(0, &[2], &[1, 1]),
            spec(0, &[1; 9], &[1; 9]),
        ] {
            assert!(!bad.fits(), "{bad:?}");
        }
    }
}
