//! Captions of still pictures.

use random::Stream;

use super::motion::Quantity;
use super::scenes::{Colour, Ground, Look, Shape, State};

/// Levels of a quantity in captions.
pub const LEVELS: usize = 7;
/// Probability that a caption mentions each attribute.
const TOLD: f64 = 0.8;

/// A random caption for an object of this look in this state.
///
/// It mentions only what a still shows: where the object is, never its direction.
pub fn caption(look: &Look, state: &State, stream: &mut Stream) -> String {
    let mut things: Vec<&str> = Vec::new();
    for quantity in Quantity::ALL {
        if stream.chance(TOLD) {
            things.push(phrases(quantity)[level(state, quantity)]);
        }
    }
    stream.shuffle(&mut things);
    let mut words = vec![opening(stream)];
    words.extend(stream.chance(TOLD).then(|| look.colour.name()));
    words.push(look.shape.name());
    words.extend(things);
    if stream.chance(TOLD) {
        words.extend(["on", look.ground.name()]);
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// Short captions that differ in one attribute only, each grouped with all its
/// alternatives: "a far left", "a left", "a slightly left" and so on.
///
/// The groups are the quantities in their order, then shape, colour and background.
pub fn alternatives(stream: &mut Stream) -> Vec<Vec<String>> {
    let opening = opening(stream);
    let told = |what: &str| format!("{opening} {what}").trim_start().to_owned();
    let mut groups: Vec<Vec<String>> = Quantity::ALL
        .into_iter()
        .map(|quantity| phrases(quantity).map(told).into())
        .collect();
    groups.push(Shape::ALL.iter().map(|shape| told(shape.name())).collect());
    groups.push(
        Colour::ALL
            .iter()
            .map(|colour| told(colour.name()))
            .collect(),
    );
    let before = |ground: &Ground| told(&format!("on {}", ground.name()));
    groups.push(Ground::ALL.iter().map(before).collect());
    groups
}

/// The index of the true caption in each group of [`alternatives`] for a still.
pub fn truths(look: &Look, state: &State) -> Vec<usize> {
    let mut places: Vec<usize> = Quantity::ALL
        .into_iter()
        .map(|quantity| level(state, quantity))
        .collect();
    places.extend([
        look.shape as usize,
        look.colour as usize,
        look.ground as usize,
    ]);
    places
}

/// Beginnings of captions.
const OPENINGS: [&str; 5] = ["", "a", "a picture of a", "a frame of a", "action of a"];

fn opening(stream: &mut Stream) -> &'static str {
    OPENINGS[stream.below(OPENINGS.len())]
}

fn level(state: &State, quantity: Quantity) -> usize {
    ((state.get(quantity) * LEVELS as f64) as usize).min(LEVELS - 1)
}

/// The words for each level of a quantity, from low to high.
fn phrases(quantity: Quantity) -> [&'static str; LEVELS] {
    match quantity {
        Quantity::Across => [
            "far left",
            "left",
            "slightly left",
            "in the centre",
            "slightly right",
            "right",
            "far right",
        ],
        Quantity::Height => [
            "far down",
            "down",
            "slightly down",
            "half way",
            "slightly up",
            "up",
            "far up",
        ],
        Quantity::Size => [
            "tiny", "small", "smallish", "medium", "largish", "large", "huge",
        ],
        Quantity::Tilt => [
            "far anticlockwise",
            "anticlockwise",
            "slightly anticlockwise",
            "upright",
            "slightly clockwise",
            "clockwise",
            "far clockwise",
        ],
        Quantity::Opacity => ["faded", "faint", "pale", "hazy", "clear", "strong", "solid"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::Motion;

    #[test]
    fn no_caption_holds_a_class_name() {
        let mut stream = Stream::new(0, &["captions"]);
        for _ in 0..2000 {
            let look = Look::draw(&mut stream);
            let state = State::draw(&mut stream);
            let text = caption(&look, &state, &mut stream);
            assert!(text.contains(look.shape.name()));
            for motion in Motion::ALL {
                assert!(!text.contains(motion.name()), "{text}");
            }
        }
    }

    #[test]
    fn of_each_group_of_alternatives_one_is_true_and_all_differ() {
        let mut stream = Stream::new(1, &["captions"]);
        let look = Look::draw(&mut stream);
        let groups = alternatives(&mut stream);
        let low = truths(&look, &State([0.0; 5]));
        let high = truths(&look, &State([1.0; 5]));
        assert_eq!((groups.len(), low.len()), (8, 8));
        assert!(groups[0][low[0]].ends_with("far left"));
        assert!(groups[1][high[1]].ends_with("far up"));
        assert!(groups[5][low[5]].ends_with(look.shape.name()));
        assert!(groups[6][low[6]].ends_with(look.colour.name()));
        assert!(groups[7][low[7]].ends_with(look.ground.name()));
        for group in groups {
            let distinct: std::collections::BTreeSet<_> = group.iter().collect();
            assert_eq!(distinct.len(), group.len());
        }
    }
}
