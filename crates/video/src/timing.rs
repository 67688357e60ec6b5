//! When frames are shown.

use super::av::{Claims, Packet};

/// Seconds by which a time goes back if the clock was set back, and not a frame out of order.
const SET_BACK: f64 = 1.0;

/// When each frame of a video is shown, in seconds from the first one.
///
/// A frame lasts until the next one, and the last one until `end`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// The beginning of each frame, ascending.
    pub starts: Vec<f64>,
    /// The end of the last frame.
    pub end: f64,
}

impl Timing {
    /// Of frames that begin at `starts`, from the packets of which they come: time and duration
    /// of each, in units of the stream.
    pub(super) fn new(claims: &Claims, starts: Vec<f64>, mut packets: Vec<(i64, i64)>) -> Self {
        packets.sort_unstable();
        let last = starts.last().copied().unwrap_or(0.0);
        let mut gaps = starts.windows(2).map(|pair| pair[1] - pair[0]);
        let lasts = stated(claims, &packets, &starts)
            .filter(|lasts| *lasts > 0.0)
            .or_else(|| gaps.next_back().filter(|gap| *gap > 0.0))
            .unwrap_or(claims.frame_seconds);
        Self {
            end: last + lasts,
            starts,
        }
    }
}

/// The seconds for which the container says that the last frame is shown.
fn stated(claims: &Claims, packets: &[(i64, i64)], starts: &[f64]) -> Option<f64> {
    let (last, duration) = (*starts.last()?, packets.last()?.1);
    let seconds = |units: i64| units as f64 * claims.time_unit;
    if claims.gapless {
        // Durations are those of the order of decoding; only their sum is that of the frames.
        let sum = packets
            .iter()
            .fold(0_i64, |sum, packet| sum.saturating_add(packet.1));
        return Some(seconds(sum) - last);
    }
    let first = seconds(packets.first()?.0);
    let tagged = claims.duration.and_then(|end| {
        let counted = [end - first - last, end - last];
        counted.into_iter().find(|lasts| *lasts > 0.0)
    });
    if tagged.is_some() {
        return tagged;
    }
    // Where durations are not stated, FFmpeg puts a guess from the rate in their place.
    let is_real =
        |pair: &[(i64, i64)]| pair[1].0.saturating_sub(pair[0].0).abs_diff(pair[0].1) <= 1;
    let real = packets.len() == starts.len() && packets.windows(2).all(is_real);
    real.then(|| seconds(duration))
}

/// From the times of packets to seconds since the first frame.
pub(super) struct Clock {
    claims: Claims,
    /// The time of the first frame, in units of the stream.
    zero: Option<i64>,
    /// Where packets state no time of presentation: when each is decoded.
    decoded: Vec<Option<i64>>,
    /// The time of the latest frame, in units since the first one.
    now: i64,
}

impl Clock {
    pub(super) fn new(claims: Claims) -> Self {
        Self {
            claims,
            zero: None,
            decoded: Vec::new(),
            now: 0,
        }
    }

    /// For a part of the frames, of which the first may be missing: its time is `zero`.
    pub(super) fn starting_at(mut self, zero: Option<i64>) -> Self {
        self.zero = zero;
        self
    }

    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Takes a packet, in the order of the file.
    pub(super) fn see(&mut self, packet: &Packet) {
        if !self.claims.timed {
            self.decoded.push(packet.decoding_time());
        }
    }

    /// The packet seen last holds no frame.
    pub(super) fn forget(&mut self) {
        self.decoded.pop();
    }

    /// Seconds from the first frame to that of this index, whose time of presentation is `time`
    /// in units of the stream. Frames come in order.
    pub(super) fn seconds(&mut self, time: Option<i64>, index: usize) -> f64 {
        let Claims {
            time_unit,
            frame_seconds,
            timed,
            ..
        } = self.claims;
        if !timed {
            let decoded = |index: usize| self.decoded.get(index).copied().flatten();
            // As many frames came before it as packets before that one.
            return match (decoded(0), decoded(index)) {
                (Some(first), Some(time)) => (time.saturating_sub(first)) as f64 * time_unit,
                _ => index as f64 * frame_seconds,
            };
        }
        let units = |seconds: f64| match time_unit > 0.0 {
            true => (seconds / time_unit).round() as i64,
            false => 0,
        };
        let step = units(frame_seconds);
        let time = match (time, self.zero) {
            (Some(time), _) => time,
            (None, Some(zero)) => zero.saturating_add(self.now).saturating_add(step),
            (None, None) => return index as f64 * frame_seconds,
        };
        let before = units(index as f64 * frame_seconds);
        let zero = *self.zero.get_or_insert(time.saturating_sub(before));
        let since = time.saturating_sub(zero);
        if since >= self.now {
            self.now = since;
        } else if (self.now.saturating_sub(since)) as f64 * time_unit > SET_BACK {
            // The clock was set back, as where recordings were joined: it goes on from here.
            self.now = self.now.saturating_add(step);
            self.zero = Some(time.saturating_sub(self.now));
        }
        self.now as f64 * time_unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Orientation;

    fn claims(gapless: bool, duration: Option<f64>) -> Claims {
        Claims {
            width: 64,
            height: 48,
            frames: None,
            orientation: Orientation::default(),
            aspect: None,
            time_unit: 0.001,
            frame_seconds: 0.04,
            timed: true,
            gapless,
            duration,
        }
    }

    /// The end of a film of these times and durations in milliseconds.
    fn end(claims: &Claims, packets: &[(i64, i64)]) -> f64 {
        let mut starts: Vec<f64> = packets.iter().map(|packet| packet.0 as f64 / 1e3).collect();
        starts.sort_by(f64::total_cmp);
        let timing = Timing::new(claims, starts, packets.to_vec());
        (timing.end * 1e3).round() / 1e3
    }

    #[test]
    fn times_count_from_the_first_frame_and_never_go_back() {
        let mut clock = Clock::new(claims(false, None));
        let times = [
            Some(8000),
            Some(8040),
            None,
            Some(8110),
            Some(8100),
            Some(9000),
            Some(20),
        ];
        let seconds = times
            .into_iter()
            .enumerate()
            .map(|(index, time)| (clock.seconds(time, index) * 1e3).round() as i64);
        assert_eq!(
            seconds.collect::<Vec<_>>(),
            [0, 40, 80, 110, 110, 1000, 1040]
        );
        let mut late = Clock::new(claims(false, None));
        let seconds = [None, Some(540)].map(|time| late.seconds(time, usize::from(time.is_some())));
        assert_eq!(seconds, [0.0, 0.04]);
        let mut part = Clock::new(claims(false, None)).starting_at(Some(500));
        assert_eq!(part.seconds(Some(900), 10), 0.4);
    }

    #[test]
    fn the_last_frame_lasts_as_long_as_the_container_says() {
        let plain = claims(false, None);
        assert_eq!(end(&plain, &[(0, 2000), (2000, 500), (2500, 3000)]), 5.5);
        // Guesses, and no durations at all.
        assert_eq!(end(&plain, &[(0, 250), (2000, 250), (2040, 250)]), 2.08);
        assert_eq!(end(&plain, &[(0, 0), (1000, 0), (4000, 0)]), 7.0);
        assert_eq!(end(&plain, &[(0, 1000)]), 1.0);
        assert_eq!(end(&plain, &[(0, 0)]), 0.04);
        assert_eq!(end(&plain, &[]), 0.04);
        // Whatever a file may say.
        for claims in [claims(false, Some(f64::INFINITY)), claims(true, None)] {
            let absurd = [(i64::MIN, i64::MAX), (0, i64::MAX), (i64::MAX, i64::MIN)];
            assert!(!end(&claims, &absurd).is_nan());
        }
        // Out of order: a frame of 40 ms and one of 3 s, whose durations are exchanged.
        let gapless = claims(true, None);
        assert_eq!(end(&gapless, &[(0, 1000), (1040, 40), (1000, 3000)]), 4.04);
        let tagged = |seconds| claims(false, Some(seconds));
        assert_eq!(end(&tagged(2.3), &[(0, 40), (2000, 40)]), 2.3);
        assert_eq!(end(&tagged(9.0), &[(0, 40), (2000, 40)]), 9.0);
        assert_eq!(end(&tagged(1.0), &[(0, 40), (2000, 40)]), 4.0);
        // From the container's zero, and from the first frame.
        let late = |seconds| {
            let timing = Timing::new(
                &tagged(seconds),
                vec![0.0, 2.0],
                vec![(8000, 0), (10000, 0)],
            );
            timing.end
        };
        assert_eq!((late(10.5), late(2.5)), (2.5, 2.5));
    }
}
