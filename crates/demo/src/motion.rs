//! The classes: ten motions in five pairs.

/// The quantities of an object that can change, each a number from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// From the left edge to the right.
    Across,
    /// From the bottom to the top.
    Height,
    /// From small to large.
    Size,
    /// From leaning anticlockwise to leaning clockwise.
    Tilt,
    /// From faint to solid.
    Opacity,
}

impl Quantity {
    /// All quantities, in the order of a [`State`](super::scenes::State)'s numbers.
    pub const ALL: [Self; 5] = [
        Self::Across,
        Self::Height,
        Self::Size,
        Self::Tilt,
        Self::Opacity,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Across => "across",
            Self::Height => "height",
            Self::Size => "size",
            Self::Tilt => "tilt",
            Self::Opacity => "opacity",
        }
    }
}

/// A class: one quantity that rises or falls while the others are constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// From left to right.
    Right,
    /// From right to left.
    Left,
    /// From the bottom to the top.
    Up,
    /// From the top to the bottom.
    Down,
    /// From small to large.
    Growing,
    /// From large to small.
    Shrinking,
    /// Clockwise.
    Clockwise,
    /// Anticlockwise.
    Anticlockwise,
    /// From faint to solid.
    Appearing,
    /// From solid to faint.
    Fading,
}

impl Motion {
    /// All classes, pair by pair.
    pub const ALL: [Self; 10] = [
        Self::Right,
        Self::Left,
        Self::Up,
        Self::Down,
        Self::Growing,
        Self::Shrinking,
        Self::Clockwise,
        Self::Anticlockwise,
        Self::Appearing,
        Self::Fading,
    ];

    /// The class's name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "moving right",
            Self::Left => "moving left",
            Self::Up => "moving up",
            Self::Down => "moving down",
            Self::Growing => "growing",
            Self::Shrinking => "shrinking",
            Self::Clockwise => "turning clockwise",
            Self::Anticlockwise => "turning anticlockwise",
            Self::Appearing => "appearing",
            Self::Fading => "fading",
        }
    }

    /// The quantity that changes.
    #[must_use]
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Right | Self::Left => Quantity::Across,
            Self::Up | Self::Down => Quantity::Height,
            Self::Growing | Self::Shrinking => Quantity::Size,
            Self::Clockwise | Self::Anticlockwise => Quantity::Tilt,
            Self::Appearing | Self::Fading => Quantity::Opacity,
        }
    }

    /// Whether the quantity falls.
    #[must_use]
    pub fn falls(self) -> bool {
        matches!(
            self,
            Self::Left | Self::Down | Self::Shrinking | Self::Anticlockwise | Self::Fading
        )
    }

    /// The same motion played backwards: the other class of the pair.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Right => Self::Left,
            Self::Left => Self::Right,
            Self::Up => Self::Down,
            Self::Down => Self::Up,
            Self::Growing => Self::Shrinking,
            Self::Shrinking => Self::Growing,
            Self::Clockwise => Self::Anticlockwise,
            Self::Anticlockwise => Self::Clockwise,
            Self::Appearing => Self::Fading,
            Self::Fading => Self::Appearing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_share_their_quantity_and_differ_in_direction() {
        for motion in Motion::ALL {
            let other = motion.reversed();
            assert_eq!(other.reversed(), motion);
            assert_eq!(other.quantity(), motion.quantity());
            assert_ne!(other.falls(), motion.falls());
            assert_ne!(other.name(), motion.name());
        }
    }
}
