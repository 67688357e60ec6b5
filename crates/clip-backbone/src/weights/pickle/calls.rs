//! The names in a pickle, and the result of each call: known ones give tensors and containers, any
//! other an inert object.

use tch::Kind;

use super::bytes::Step;
use super::machine::Machine;
use super::tensor::{TensorSpec, storage_kind};
use super::{Id, Node};

/// The longest name of a storage, in bytes.
const MAX_STORAGE_NAME: usize = 256;

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    Storage(Kind),
    /// `_rebuild_tensor_v2(storage, offset, size, stride, …)`.
    RebuildTensor,
    /// `_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes.
    RebuildSubclass,
    /// A wrapper around its first argument: a parameter, a size, TorchScript's marks of a list's
    /// element type.
    Wrapper,
    /// Any other class or function.
    Inert,
}

impl Global {
    pub(super) fn of(module: &str, name: &str) -> Self {
        match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildSubclass,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")
            | ("torch", "Size")
            | (
                "torch.jit._pickle",
                "restore_type_tag" | "build_intlist" | "build_doublelist" | "build_boollist"
                | "build_tensorlist",
            ) => Self::Wrapper,
            ("torch" | "torch.storage", name) => {
                storage_kind(name).map_or(Self::Inert, Self::Storage)
            }
            _ => Self::Inert,
        }
    }
}

impl Machine<'_> {
    /// A persistent id: `("storage", type, key, device, length)`; files from before PyTorch 1.6
    /// add a view, which is none in all but the oldest.
    pub(super) fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let parts = self.tuple(id)?;
        // The class of a module, with its source text.
        if let [mark, class, ..] = *parts
            && matches!(self.node(mark), Node::Text(text) if text == "module")
        {
            self.recall(class);
            return Ok(());
        }
        let (mark, kind, key, length, view) = match *parts {
            [mark, kind, key, _device, length] => (mark, kind, key, length, None),
            [mark, kind, key, _device, length, view] => (mark, kind, key, length, Some(view)),
            _ => return Err(self.fault("a persistent id that is not a storage")),
        };
        if !matches!(self.node(mark), Node::Text(text) if text == "storage") {
            return Err(self.fault("a persistent id that is not a storage"));
        }
        if view.is_some_and(|view| !matches!(self.node(view), Node::None)) {
            return Err(self.fault("a view of a storage, as PyTorch wrote before 0.4"));
        }
        let length = self.int(length)?;
        let Node::Text(storage) = self.node(key) else {
            return Err(self.fault("a storage without a name"));
        };
        if length < 0 {
            return Err(self.fault(format!("a storage of {length} elements")));
        }
        if storage.len() > MAX_STORAGE_NAME {
            return Err(self.fault(format!("a storage with a name of {} bytes", storage.len())));
        }
        match *self.node(kind) {
            Node::Global {
                meaning: Global::Storage(kind),
                ..
            } => {
                let storage = storage.clone();
                self.push(Node::Storage {
                    storage,
                    kind,
                    length,
                })
            }
            // No weight of a tower is one.
            _ => self.inert(kind, None),
        }
    }

    /// The result of `callee(*arguments)`. Nothing is called.
    pub(super) fn call(&mut self, callee: Id, arguments: Id) -> Step<()> {
        let meaning = match self.node(callee) {
            Node::Global { meaning, .. } => *meaning,
            _ => Global::Inert,
        };
        let given = self.tuple(arguments)?;
        let first = given.first().copied();
        match (meaning, first) {
            (Global::OrderedDict, _) => {
                let pairs = self.pairs_of(first)?;
                self.push(Node::Dict(pairs))
            }
            (Global::RebuildTensor, Some(storage)) => match self.node(storage) {
                Node::Storage { .. } => {
                    let spec = self.tensor(given)?;
                    self.push(Node::Tensor(spec))
                }
                _ => self.inert(callee, Some(arguments)),
            },
            (Global::RebuildSubclass, Some(function)) => match *given {
                // Called at most once within itself: a tensor is not built of another.
                [_, _, inner, ..] if !self.is_subclass_call(function) => self.call(function, inner),
                _ => self.inert(callee, Some(arguments)),
            },
            (Global::Wrapper, Some(first)) => {
                self.recall(first);
                Ok(())
            }
            _ => self.inert(callee, Some(arguments)),
        }
    }

    /// An object of `class` that is only looked at.
    pub(super) fn inert(&mut self, class: Id, arguments: Option<Id>) -> Step<()> {
        self.push(Node::Object {
            class,
            arguments,
            state: None,
            entries: Vec::new(),
        })
    }

    /// Attributes: kept for an object, skipped for a dict (a state dict's `_metadata`) and for a
    /// tensor.
    pub(super) fn build(&mut self) -> Step<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.node_mut(target) {
            Some(Node::Object { state: held, .. }) => {
                *held = Some(state);
                Ok(())
            }
            Some(Node::Dict(_) | Node::Tensor(_)) => Ok(()),
            _ => Err(self.fault("attributes for something that has none")),
        }
    }

    fn is_subclass_call(&self, function: Id) -> bool {
        matches!(
            self.node(function),
            Node::Global {
                meaning: Global::RebuildSubclass,
                ..
            }
        )
    }

    /// The entries of an `OrderedDict`, given as a list of pairs, as Python 2 does, or later.
    fn pairs_of(&self, list: Option<Id>) -> Step<Vec<(Id, Id)>> {
        let Some(list) = list else {
            return Ok(Vec::new());
        };
        let Node::List(items) = self.node(list) else {
            return Err(self.fault("an OrderedDict of something that is not a list"));
        };
        let pair = |&item: &Id| match (self.node(item), self.tuple(item)) {
            (Node::List(pair), _) => match **pair {
                [key, value] => Ok((key, value)),
                _ => Err(self.fault("an OrderedDict of items that are not pairs")),
            },
            (_, Ok(&[key, value])) => Ok((key, value)),
            _ => Err(self.fault("an OrderedDict of items that are not pairs")),
        };
        items.iter().map(pair).collect()
    }

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
}
