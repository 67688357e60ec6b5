//! What a still picture shows, in words.

use data::random::Stream;

use super::motion::Quantity;
use super::scenes::{Look, State};

/// Steps that a quantity is told in.
const LEVELS: usize = 5;
/// How often a caption leaves out one of the things it could tell.
const SILENCE: f64 = 0.15;

/// A caption at random for an object of this look in this state.
///
/// It tells only what a still shows: where the object is, never where it goes.
pub fn caption(look: &Look, state: &State, stream: &mut Stream) -> String {
    let mut things: Vec<&str> = Vec::new();
    for quantity in Quantity::ALL {
        let level = ((state.get(quantity) * LEVELS as f64) as usize).min(LEVELS - 1);
        let phrases = phrases(quantity)[level];
        let phrase = phrases[stream.below(phrases.len())];
        if !stream.chance(SILENCE) {
            things.push(phrase);
        }
    }
    stream.shuffle(&mut things);
    let opening = OPENINGS[stream.below(OPENINGS.len())];
    let mut words = vec![opening];
    words.extend((!stream.chance(SILENCE)).then(|| look.colour.name()));
    words.push(look.shape.name());
    words.extend(things);
    if !stream.chance(SILENCE) {
        words.extend(["on", look.ground.name()]);
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// What a caption may begin with.
const OPENINGS: [&str; 5] = ["", "a", "a picture of a", "a frame of a", "action of a"];

/// The words for each level of a quantity, from low to high.
fn phrases(quantity: Quantity) -> [&'static [&'static str]; LEVELS] {
    match quantity {
        Quantity::Across => [
            &["far left", "at the left edge"],
            &["left", "on the left"],
            &["in the centre"],
            &["right", "on the right"],
            &["far right", "at the right edge"],
        ],
        Quantity::Height => [
            &["far down", "at the bottom"],
            &["down", "low down"],
            &["half way up"],
            &["up", "high up"],
            &["far up", "at the top"],
        ],
        Quantity::Size => [
            &["tiny", "shrunk tiny"],
            &["small", "shrunk small"],
            &["of medium size"],
            &["large", "grown large"],
            &["huge", "grown huge"],
        ],
        Quantity::Tilt => [
            &["far anticlockwise", "turned far anticlockwise"],
            &["anticlockwise", "turned anticlockwise"],
            &["upright"],
            &["clockwise", "turned clockwise"],
            &["far clockwise", "turned far clockwise"],
        ],
        Quantity::Opacity => [
            &["hardly visible", "faded away"],
            &["faint", "faded"],
            &["half visible"],
            &["visible", "clearly visible"],
            &["solid", "fully appeared"],
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::motion::Motion;

    #[test]
    fn no_caption_holds_a_class_name() {
        let mut stream = Stream::new(0, &["captions"]);
        for _ in 0..2000 {
            let look = Look::draw(&mut stream);
            let state = State(std::array::from_fn(|_| stream.unit()));
            let text = caption(&look, &state, &mut stream);
            assert!(text.contains(look.shape.name()));
            for motion in Motion::ALL {
                assert!(!text.contains(motion.name()), "{text}");
            }
        }
    }
}
