//! The errors of this crate, with the expected and the actual value.

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor of the wrong shape was passed in.
    #[error("{op}: expected {expected}, got {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The expected shape.
        expected: String,
        /// The given shape.
        got: Vec<i64>,
    },
    /// An invalid configuration.
    #[error("prompts.{field} is {got}; expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// The allowed values.
        expected: String,
        /// The given value.
        got: String,
    },
    /// A template does not have exactly one placeholder for the label.
    #[error("template {template:?}: expected one {{}} for the label, got {got}")]
    Template {
        /// The template.
        template: String,
        /// The number of placeholders.
        got: usize,
    },
    /// There are no classes to encode.
    #[error("labels: expected at least 1, got 0")]
    NoClasses,
    /// A label without a token, such as one of control characters only.
    #[error("label {label:?}: expected at least 1 token, got 0")]
    EmptyLabel {
        /// The label.
        label: String,
    },
    /// Two labels that differ only after the tokens that fit into the context.
    #[error(
        "labels {first:?} and {second:?} are the same in the {most} tokens that the context has \
         for them; shorten them"
    )]
    SameAfterCut {
        /// One label.
        first: String,
        /// The other.
        second: String,
        /// The number of tokens that fit, those of a template included.
        most: usize,
    },
    /// A text has another number of tokens than it must have.
    #[error("{text:?}: expected {expected} token(s), got {got}")]
    TokenCount {
        /// The text.
        text: String,
        /// How many tokens it should have.
        expected: i64,
        /// How many it has.
        got: usize,
    },
    /// The text tower failed.
    #[error(transparent)]
    Backbone(#[from] clip_backbone::Error),
    /// A layer could not be built.
    #[error(transparent)]
    Layers(#[from] layers::Error),
    /// A libtorch operation failed, usually for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}
