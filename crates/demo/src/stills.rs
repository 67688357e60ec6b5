//! Captioned still pictures: the training and measuring data of the built-in backbone.

use random::Stream;
use tch::Tensor;

use super::captions::{caption, truths};
use super::scenes::{Look, SIDE, State, still};
use crate::Result;

/// Still pictures, their states and their captions.
#[derive(Debug, Default)]
pub struct Stills {
    /// `[N, SIDE, SIDE, 3]`
    pictures: Vec<u8>,
    /// The state of each object.
    pub states: Vec<State>,
    /// One caption each.
    pub captions: Vec<String>,
    /// The true ones of the [`alternatives`](super::captions::alternatives) of each.
    pub truths: Vec<Vec<usize>>,
}

impl Stills {
    /// Pictures in which everything varies.
    #[must_use]
    pub fn of_any_look(seed: u64, key: &str, count: usize) -> Self {
        let mut stream = Stream::new(seed, &["stills", key]);
        let mut stills = Self::default();
        for _ in 0..count {
            let look = Look::draw(&mut stream);
            stills.add(look, &mut stream);
        }
        stills
    }

    /// Pictures of the same object on the same background: they differ only in its
    /// state.
    #[must_use]
    pub fn of_one_look(seed: u64, key: &str, count: usize) -> Self {
        let mut stream = Stream::new(seed, &["stills", key]);
        let look = Look::draw(&mut stream);
        let mut stills = Self::default();
        for _ in 0..count {
            stills.add(look, &mut stream);
        }
        stills
    }

    /// Captions without their pictures.
    #[must_use]
    pub fn captions_alone(seed: u64, key: &str, count: usize) -> Vec<String> {
        let mut stream = Stream::new(seed, &[key]);
        (0..count)
            .map(|_| {
                let look = Look::draw(&mut stream);
                caption(&look, &State::draw(&mut stream), &mut stream)
            })
            .collect()
    }

    fn add(&mut self, look: Look, stream: &mut Stream) {
        let look = Look {
            grain: stream.next_u64(),
            ..look
        };
        let state = State::draw(stream);
        self.pictures.extend(still(&look, &state));
        self.captions.push(caption(&look, &state, stream));
        self.truths.push(truths(&look, &state));
        self.states.push(state);
    }

    /// The pictures as bytes, `[N, SIDE, SIDE, 3]`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if there are none.
    pub fn pictures(&self) -> Result<Tensor> {
        let side = SIDE as i64;
        let size = [self.states.len() as i64, side, side, 3];
        Ok(Tensor::from_slice(&self.pictures).f_view(size)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn stills_depend_on_seed_and_key_alone() {
        let stills = Stills::of_any_look(1, "a", 3);
        assert_eq!(stills.pictures().unwrap().size(), [3, 64, 64, 3]);
        assert_eq!(stills.pictures, Stills::of_any_look(1, "a", 3).pictures);
        assert_eq!(stills.captions, Stills::of_any_look(1, "a", 3).captions);
        assert_ne!(stills.captions, Stills::of_any_look(1, "b", 3).captions);
        assert_ne!(stills.captions, Stills::of_any_look(2, "a", 3).captions);
    }

    #[test]
    fn stills_of_one_look_differ_in_state_alone() {
        let stills = Stills::of_one_look(0, "look", 8);
        for truths in &stills.truths {
            assert_eq!(truths[5..], stills.truths[0][5..]);
        }
        assert_ne!(stills.states[0], stills.states[1]);
    }
}
