//! Scenes: one object in front of a background, and its motion.
//!
//! A scene draws a path for *every* quantity. Its own quantity follows its path; each of
//! the others is fixed at a random moment of its path. A single frame is therefore
//! distributed alike in all classes, and a scene and its reverse have the same frames: only
//! the order of the frames distinguishes the classes.

use std::f64::consts::TAU;

use random::Stream;
use video::Frame;

use super::motion::{Motion, Quantity};
use super::raster;

/// Side of a picture in pixels.
pub const SIDE: usize = 64;
/// Frames of a clip: a multiple of 8 by an odd number, so that the centres of 8 segments are
/// symmetric in time.
pub const FRAMES: usize = 24;
/// Frames per second.
pub const RATE: u32 = 12;

/// The look of an object, independent of its motion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its outline.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// The background's colour.
    pub ground: Ground,
    /// Key of the background's slope and grain.
    pub grain: u64,
}

/// The state of an object at one moment: each [`Quantity`] from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State(pub [f64; 5]);

impl State {
    /// A random state.
    pub fn draw(stream: &mut Stream) -> Self {
        Self(std::array::from_fn(|_| stream.unit()))
    }

    /// The value of one quantity.
    #[must_use]
    pub fn get(&self, quantity: Quantity) -> f64 {
        self.0[quantity as usize]
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $word] $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, one word.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

named! {
    /// The outlines. Each has an up and a down, so that rotation is visible.
    Shape {
        Triangle = "triangle",
        Arrow = "arrow",
        House = "house",
        Heart = "heart",
        Drop = "drop",
        Moon = "moon",
        Bowl = "bowl",
    }
}

named! {
    /// The colours of objects.
    Colour {
        Red = "red",
        Green = "green",
        Blue = "blue",
        Yellow = "yellow",
        Orange = "orange",
        Purple = "purple",
    }
}

named! {
    /// The colours of backgrounds.
    Ground {
        White = "white",
        Grey = "grey",
        Black = "black",
        Brown = "brown",
    }
}

impl Look {
    /// A random look.
    pub fn draw(stream: &mut Stream) -> Self {
        Self {
            shape: pick(Shape::ALL, stream),
            colour: pick(Colour::ALL, stream),
            ground: pick(Ground::ALL, stream),
            grain: stream.next_u64(),
        }
    }
}

/// A clip before drawing.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// The object and its background.
    pub look: Look,
    motion: Motion,
    paths: [Path; 5],
}

/// A quantity that moves from a low to a high value.
#[derive(Debug, Clone, Copy)]
struct Path {
    low: f64,
    high: f64,
    /// -1 to 1: slow at the ends and fast in the middle, or vice versa.
    ease: f64,
    /// The moment, a frame's index, at which it is fixed in the clips of other classes.
    moment: usize,
}

impl Path {
    fn draw(stream: &mut Stream) -> Self {
        Self {
            low: stream.between(0.0, 0.25),
            high: stream.between(0.75, 1.0),
            ease: stream.between(-0.7, 0.7),
            moment: stream.below(FRAMES),
        }
    }

    fn at(&self, frame: usize) -> f64 {
        let t = frame as f64 / (FRAMES - 1) as f64;
        let eased = t - self.ease * (TAU * t).sin() / TAU;
        self.low + (self.high - self.low) * eased
    }
}

impl Scene {
    /// Scene number `number` of `part` (such as "train") with `motion`.
    ///
    /// The scene of the same number with the reversed motion is the same, played backwards.
    #[must_use]
    pub fn new(seed: u64, part: &str, motion: Motion, number: usize) -> Self {
        let pair = if motion.falls() {
            motion.reversed()
        } else {
            motion
        };
        let key = [part, pair.name(), &number.to_string()];
        let mut stream = Stream::new(seed, &key);
        Self {
            look: Look::draw(&mut stream),
            motion,
            paths: std::array::from_fn(|_| Path::draw(&mut stream)),
        }
    }

    /// The object's state in frame `frame` of [`FRAMES`].
    #[must_use]
    pub fn state(&self, frame: usize) -> State {
        let now = if self.motion.falls() {
            FRAMES - 1 - frame.min(FRAMES - 1)
        } else {
            frame.min(FRAMES - 1)
        };
        let moving = self.motion.quantity();
        State(Quantity::ALL.map(|quantity| {
            let path = &self.paths[quantity as usize];
            path.at(if quantity == moving { now } else { path.moment })
        }))
    }

    /// The whole clip.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        let ground = ground(&self.look);
        (0..FRAMES)
            .map(|index| Frame {
                index,
                time: index as f64 / f64::from(RATE),
                width: SIDE,
                height: SIDE,
                rgb: draw(&ground, &self.look, &self.state(index)),
            })
            .collect()
    }
}

/// One still picture, `SIDE * SIDE * 3` bytes.
#[must_use]
pub fn still(look: &Look, state: &State) -> Vec<u8> {
    draw(&ground(look), look, state)
}

/// The background, three numbers from 0 to 255 per pixel.
fn ground(look: &Look) -> Vec<[f32; 3]> {
    let mut stream = Stream::new(look.grain, &["grain"]);
    let base: [f32; 3] = match look.ground {
        Ground::White => [228.0, 228.0, 224.0],
        Ground::Grey => [128.0, 130.0, 134.0],
        Ground::Black => [26.0, 26.0, 30.0],
        Ground::Brown => [110.0, 78.0, 52.0],
    };
    let shade = stream.between(-12.0, 12.0);
    let angle = stream.between(0.0, TAU);
    let slope = stream.between(0.0, 30.0) / SIDE as f64;
    let (across, down) = ((slope * angle.cos()) as f32, (slope * angle.sin()) as f32);
    let grain = (stream.between(0.0, 12.0) / 256.0) as f32;
    let corner = shade as f32 - (across + down) * (SIDE / 2) as f32 - grain * 128.0;
    let mut picture = Vec::with_capacity(SIDE * SIDE);
    for y in 0..SIDE {
        for block in 0..SIDE / 8 {
            // One grain value covers eight pixels.
            for (offset, noise) in stream.next_u64().to_le_bytes().into_iter().enumerate() {
                let x = block * 8 + offset;
                let light = corner + across * x as f32 + down * y as f32 + grain * f32::from(noise);
                picture.push(base.map(|channel| channel + light));
            }
        }
    }
    picture
}

fn draw(ground: &[[f32; 3]], look: &Look, state: &State) -> Vec<u8> {
    let mix = |low: f64, high: f64, quantity| low + (high - low) * state.get(quantity);
    let centre = [
        mix(12.0, 52.0, Quantity::Across),
        mix(52.0, 12.0, Quantity::Height),
    ];
    let radius = mix(6.0, 17.0, Quantity::Size);
    let (sin, cos) = mix(-1.3, 1.3, Quantity::Tilt).sin_cos();
    let opacity = mix(0.2, 1.0, Quantity::Opacity);
    let corners: Vec<[f64; 2]> = outline(look.shape)
        .into_iter()
        .map(|[x, y]| {
            [
                centre[0] + radius * (cos * x - sin * y),
                centre[1] + radius * (sin * x + cos * y),
            ]
        })
        .collect();
    let colour = match look.colour {
        Colour::Red => [214.0, 40.0, 40.0],
        Colour::Green => [44.0, 168.0, 66.0],
        Colour::Blue => [42.0, 92.0, 224.0],
        Colour::Yellow => [246.0, 218.0, 40.0],
        Colour::Orange => [248.0, 140.0, 30.0],
        Colour::Purple => [154.0, 62.0, 190.0],
    };
    let mut picture = ground.to_vec();
    for (pixel, share) in raster::coverage(&corners, SIDE) {
        let cover = (share * opacity) as f32;
        for (below, above) in picture[pixel].iter_mut().zip(colour) {
            *below += cover * (above - *below);
        }
    }
    let mut rgb = Vec::with_capacity(picture.len() * 3);
    for pixel in picture {
        // The cast saturates.
        rgb.extend(pixel.map(|channel| (channel + 0.5) as u8));
    }
    rgb
}

/// The outline of a shape of radius 1, upright; y points down.
fn outline(shape: Shape) -> Vec<[f64; 2]> {
    // `steps` points of a circle from one angle to another, 0 at the right, clockwise.
    let arc = |centre: [f64; 2], radius: f64, from: f64, to: f64, steps: usize| {
        (0..=steps).map(move |step| {
            let angle = TAU * (from + (to - from) * step as f64 / steps as f64);
            [
                centre[0] + radius * angle.cos(),
                centre[1] + radius * angle.sin(),
            ]
        })
    };
    match shape {
        Shape::Triangle => vec![[0.0, -1.1], [0.75, 0.85], [-0.75, 0.85]],
        Shape::Arrow => vec![
            [0.0, -1.1],
            [0.85, -0.1],
            [0.32, -0.1],
            [0.32, 1.0],
            [-0.32, 1.0],
            [-0.32, -0.1],
            [-0.85, -0.1],
        ],
        Shape::House => vec![
            [0.0, -1.1],
            [0.9, -0.2],
            [0.65, -0.2],
            [0.65, 0.9],
            [-0.65, 0.9],
            [-0.65, -0.2],
            [-0.9, -0.2],
        ],
        Shape::Heart => (0..32)
            .map(|step| {
                let t = TAU * f64::from(step) / 32.0;
                let y = 13.0 * t.cos()
                    - 5.0 * (2.0 * t).cos()
                    - 2.0 * (3.0 * t).cos()
                    - (4.0 * t).cos();
                [t.sin().powi(3), -y / 16.0]
            })
            .collect(),
        Shape::Drop => std::iter::once([0.0, -1.15])
            .chain(arc([0.0, 0.3], 0.7, -0.08, 0.58, 20))
            .collect(),
        Shape::Moon => arc([0.0, 0.0], 1.0, -0.1, 0.6, 24)
            .chain(arc([0.0, -0.45], 0.82, 0.47, 0.03, 16))
            .collect(),
        Shape::Bowl => arc([0.0, -0.45], 1.1, 0.0, 0.5, 20).collect(),
    }
}

fn pick<T: Copy>(all: &[T], stream: &mut Stream) -> T {
    all[stream.below(all.len())]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use data::Sampling;

    use super::*;

    #[test]
    fn a_scene_and_its_reverse_have_the_same_frames() {
        for motion in Motion::ALL {
            let forward = Scene::new(3, "test", motion, 5).frames();
            let mut backward = Scene::new(3, "test", motion.reversed(), 5).frames();
            backward.reverse();
            assert_ne!(forward[0].rgb, forward[FRAMES - 1].rgb, "{motion:?}");
            assert!(
                forward.iter().zip(&backward).all(|(a, b)| a.rgb == b.rgb),
                "{motion:?}"
            );
        }
    }

    #[test]
    fn the_sampled_frames_lie_symmetrically_in_time() {
        let chosen = Sampling::Segments { frames: 8 }.centre(FRAMES);
        assert_eq!(chosen.len(), 8);
        for (early, late) in chosen.iter().zip(chosen.iter().rev()) {
            assert_eq!(early + late, FRAMES - 1);
        }
    }

    #[test]
    fn only_the_quantity_of_the_class_changes_and_in_its_direction() {
        for motion in Motion::ALL {
            let scene = Scene::new(0, "train", motion, 1);
            let states: Vec<_> = (0..FRAMES).map(|frame| scene.state(frame)).collect();
            for quantity in Quantity::ALL {
                let steps = states
                    .windows(2)
                    .map(|two| two[1].get(quantity) - two[0].get(quantity));
                if quantity != motion.quantity() {
                    assert!(steps.into_iter().all(|step| step == 0.0));
                } else if motion.falls() {
                    assert!(steps.into_iter().all(|step| step < 0.0), "{motion:?}");
                } else {
                    assert!(steps.into_iter().all(|step| step > 0.0), "{motion:?}");
                }
            }
        }
    }

    #[test]
    fn a_single_frame_is_distributed_alike_in_all_classes() {
        // Mean and standard deviation of every quantity over one random frame of many clips.
        let moments = |motion| {
            let mut stream = Stream::new(9, &["which frame"]);
            let states: Vec<_> = (0..3000)
                .map(|number| Scene::new(1, "train", motion, number).state(stream.below(FRAMES)))
                .collect();
            Quantity::ALL.map(|quantity| {
                let values = || states.iter().map(|state| state.get(quantity));
                let mean = values().sum::<f64>() / 3000.0;
                let spread = values().map(|value| (value - mean).powi(2)).sum::<f64>() / 3000.0;
                (mean, spread.sqrt())
            })
        };
        let reference = moments(Motion::ALL[0]);
        for motion in Motion::ALL {
            for ((mean, spread), (other_mean, other_spread)) in
                moments(motion).into_iter().zip(reference)
            {
                assert!((mean - other_mean).abs() < 0.03, "{motion:?}");
                assert!((spread - other_spread).abs() < 0.02, "{motion:?}");
            }
        }
    }

    #[test]
    fn every_shape_and_colour_is_visible_on_every_background() {
        let state = State([0.5; 5]);
        for &shape in Shape::ALL {
            for &colour in Colour::ALL {
                for &ground in Ground::ALL {
                    let look = Look {
                        shape,
                        colour,
                        ground,
                        grain: 1,
                    };
                    let with = still(&look, &state);
                    let without = still(&look, &State([0.5, 0.5, 0.0, 0.5, 0.0]));
                    let changed = with
                        .iter()
                        .zip(&without)
                        .filter(|(a, b)| a.abs_diff(**b) > 10)
                        .count();
                    assert!(changed > 150, "{look:?}: {changed}");
                }
            }
        }
    }
}
