//! Reads Python pickles without running anything.
//!
//! A pickle is a program for a small stack machine that may name any Python function and call
//! it. Here nothing is ever called: a tensor becomes a [`TensorSpec`] with the location of its
//! data, dicts and lists are themselves, and the result of any other call is an inert
//! [`Form::Object`] with its name, its attributes and its entries. The objects are kept in one
//! flat list and refer to each other by index, so that neither deep nesting nor repeated
//! references cost more than the pickle's own length.

mod bytes;
mod calls;
mod machine;
mod tensor;

use self::calls::Global;
use self::machine::Machine;
pub use self::tensor::TensorSpec;

/// The longest pickle read, in bytes: a state dict of ten thousand tensors takes about 2 MB.
pub const MAX_BYTES: usize = 64 << 20;
/// The most instructions interpreted.
pub const MAX_INSTRUCTIONS: usize = 1 << 22;

/// The arguments of a call that are looked at.
const MOST_ARGUMENTS: usize = 16;

/// The fault of a refused pickle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct PickleError {
    /// The offset in the pickle, in bytes.
    pub at: usize,
    /// The fault.
    pub reason: String,
}

impl PickleError {
    /// Whether the pickle is cut off.
    pub(crate) fn ends_early(&self) -> bool {
        self.reason == bytes::ENDS_EARLY
    }
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
    /// A list, a tuple or a set; see [`Value::items`].
    Sequence,
    /// A dict, ordered or not; see [`Value::entries`].
    Dict,
    /// A tensor.
    Tensor(&'a TensorSpec),
    /// The result of a call, which was not made; its attributes, its entries if it is a kind of
    /// dict, and those of dicts that it was made from are its [`Value::entries`].
    Object {
        /// The class or function, such as `argparse.Namespace`.
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
    /// an instruction unknown to this reader or describes an impossible tensor.
    pub fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        if bytes.len() > MAX_BYTES {
            return Err(PickleError {
                at: 0,
                reason: format!("{} bytes long; at most {MAX_BYTES} are read", bytes.len()),
            });
        }
        Ok(Self::parse_prefix(bytes)?.0)
    }

    /// The same for a pickle with other bytes after it; with its length.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_prefix(bytes: &[u8]) -> Result<(Self, usize), PickleError> {
        Machine::new(&bytes[..bytes.len().min(MAX_BYTES)]).run()
    }

    /// The outermost object.
    pub fn root(&self) -> Value<'_> {
        Value {
            pickle: self,
            id: self.root,
        }
    }

    /// Name and length in bytes of each storage that is referred to, as often as it is.
    pub(crate) fn storages(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage {
                storage,
                kind,
                length,
            } => {
                let length = usize::try_from(*length).unwrap_or(usize::MAX);
                let bytes = length.saturating_mul(kind.elt_size_in_bytes());
                Some((storage.as_str(), bytes))
            }
            _ => None,
        })
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
            Node::Object { class, .. } => Form::Object {
                class: match self.at(*class).node() {
                    Node::Global { name, .. } => name,
                    _ => "an object",
                },
            },
            Node::Global { name, .. } => Form::Name(name),
            Node::Storage { storage, .. } => Form::Name(storage),
            Node::LargeInt => Form::Name("int"),
        }
    }

    /// Keys and values of a dict; names and values of an object's attributes, and entries;
    /// otherwise none.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let mut parts: Vec<&'a [(Id, Id)]> = Vec::new();
        match self.node() {
            Node::Dict(entries) => parts.push(entries),
            Node::Object {
                arguments,
                state,
                entries,
                ..
            } => {
                for given in [arguments, state].into_iter().flatten() {
                    parts.extend(self.at(*given).dicts());
                }
                parts.push(entries);
            }
            _ => {}
        }
        let entries = parts.into_iter().flatten();
        entries.map(move |&(key, value)| (self.at(key), self.at(value)))
    }

    /// The entries of this dict, or of each dict in this tuple: a call's arguments, or the
    /// attributes of a class with slots.
    fn dicts(self) -> impl Iterator<Item = &'a [(Id, Id)]> {
        let ids = match self.node() {
            Node::Tuple(items) => items.iter().copied().take(MOST_ARGUMENTS).collect(),
            _ => vec![self.id],
        };
        ids.into_iter()
            .filter_map(move |id| match self.at(id).node() {
                Node::Dict(entries) => Some(entries.as_slice()),
                _ => None,
            })
    }

    /// The elements of a list or a tuple; otherwise none.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        let items: &'a [Id] = match self.node() {
            Node::List(items) | Node::Tuple(items) => items,
            _ => &[],
        };
        items.iter().map(move |&id| self.at(id))
    }

    /// The entry of a dict, or the attribute of an object, that is called `key`.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        // The last of several wins, as it does in Python.
        self.entries()
            .filter(|(name, _)| matches!(name.form(), Form::Text(text) if text == key))
            .last()
            .map(|(_, value)| value)
    }

    /// The object in a few words, for messages.
    pub(crate) fn description(self) -> String {
        let named = |what: &str| {
            let names = self.entries().filter_map(|(key, _)| match key.form() {
                Form::Text(key) => Some(key.chars().take(40).collect::<String>()),
                _ => None,
            });
            let names: Vec<String> = names.take(5).collect();
            match names.is_empty() {
                true => what.to_owned(),
                false => format!("{what} with {}", names.join(", ")),
            }
        };
        match self.form() {
            Form::Dict => named("a dict"),
            Form::Object { class } => named(&format!("an object of {class}")),
            Form::Sequence => "a list".into(),
            Form::Name(name) => format!("the name {name}"),
            _ => "a plain value".into(),
        }
    }

    /// A number that stands for this object and no other of its pickle.
    pub(crate) fn id(self) -> u32 {
        self.id
    }

    fn at(self, id: Id) -> Self {
        Self { id, ..self }
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
    /// An integer of more than 64 bits.
    LargeInt,
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global {
        name: String,
        meaning: Global,
    },
    Storage {
        storage: String,
        kind: tch::Kind,
        length: i64,
    },
    Tensor(TensorSpec),
    Object {
        class: Id,
        arguments: Option<Id>,
        state: Option<Id>,
        entries: Vec<(Id, Id)>,
    },
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
}
