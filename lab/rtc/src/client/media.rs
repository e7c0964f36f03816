//! What a publisher sends: 25 frames of video a second, from a file of VP8 or made of nothing, and silence in Opus.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const FRAME: Duration = Duration::from_millis(40);
pub const VIDEO_TICKS: u64 = 90_000 / 25;
pub const SOUND: Duration = Duration::from_millis(20);
pub const SOUND_TICKS: u64 = 48_000 / 50;
/// A frame of Opus that says nothing, for 20 ms.
pub const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

const MADE_FRAMES: usize = 25;
const MADE_FRAME_BYTES: usize = 3000;
const IVF_HEADER: usize = 32;
const IVF_FRAME_HEADER: usize = 12;

pub struct Frames(Vec<Arc<[u8]>>);

impl Frames {
    pub fn made() -> Self {
        // The lowest bit of VP8's first byte: no key frame.
        Self((0..MADE_FRAMES).map(|number| vec![u8::from(number > 0); MADE_FRAME_BYTES].into()).collect())
    }

    pub fn of_ivf(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let frames = parse(&bytes).with_context(|| format!("{} is no IVF file of VP8", path.display()))?;
        if frames.is_empty() {
            bail!("{} has no frames", path.display());
        }
        Ok(Self(frames))
    }

    pub fn get(&self, number: u64) -> Arc<[u8]> {
        self.0[number as usize % self.0.len()].clone()
    }
}

fn parse(bytes: &[u8]) -> Option<Vec<Arc<[u8]>>> {
    if bytes.get(..4)? != b"DKIF" || bytes.get(8..12)? != b"VP80" {
        return None;
    }
    let mut rest = bytes.get(IVF_HEADER..)?;
    let mut frames = Vec::new();
    while rest.len() >= IVF_FRAME_HEADER {
        let length = u32::from_le_bytes(rest[..4].try_into().ok()?) as usize;
        let end = IVF_FRAME_HEADER + length;
        frames.push(rest.get(IVF_FRAME_HEADER..end)?.into());
        rest = &rest[end..];
    }
    Some(frames)
}

/// Something that is due again and again, without drift.
pub struct Beat {
    pub due: Instant,
    every: Duration,
    pub number: u64,
}

impl Beat {
    pub fn new(from: Instant, every: Duration) -> Self {
        Self { due: from, every, number: 0 }
    }

    /// The number of the beat that is due, if one is. After a long stop it does not catch up.
    pub fn tick(&mut self, now: Instant) -> Option<u64> {
        if now < self.due {
            return None;
        }
        let number = self.number;
        self.number += 1;
        self.due = (self.due + self.every).max(now.checked_sub(self.every * 5).unwrap_or(now));
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_file_are_cut_where_it_says() {
        let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
        file.resize(IVF_HEADER, 0);
        for frame in [&b"abc"[..], b"de"] {
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend([0; 8]);
            file.extend(frame);
        }
        let frames = parse(&file).unwrap();
        assert_eq!((frames.len(), &frames[1][..]), (2, &b"de"[..]));
        file.pop();
        assert!(parse(&file).is_none());
    }

    #[test]
    fn a_beat_does_not_drift() {
        let start = Instant::now();
        let mut beat = Beat::new(start, FRAME);
        assert_eq!(beat.tick(start), Some(0));
        assert_eq!(beat.tick(start), None);
        assert_eq!(beat.tick(start + FRAME), Some(1));
        assert_eq!(beat.due, start + FRAME * 2);
    }
}
