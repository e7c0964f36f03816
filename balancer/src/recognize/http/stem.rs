//! What packagers call their files: which part of a file's name may be the stream's, and which only counts segments.
//!
//! nginx-rtmp writes `s1-12.ts`, `s1-12000.m4v`, `s1-init.m4a` or, nested, `s1/12.ts`; SRS `s1-12.ts`, `s1/video-3.m4s`;
//! ffmpeg `s10.ts` or `chunk-stream0-00001.m4s`; Wowza `s1/media_w123_4.ts`; MediaMTX `s1/0a1b_main_seg7.mp4`.

/// Say nothing of the stream: then the directory does. With anything behind them (`chunklist_w123`, `seg_0_1_video`).
const NAMELESS: [&str; 14] = [
    "chunk",
    "chunklist",
    "filesequence",
    "frag",
    "fragment",
    "index",
    "init",
    "manifest",
    "master",
    "media",
    "part",
    "playlist",
    "prog",
    "seg",
];
/// The same for segments only: as playlists they may well be streams.
const NAMELESS_SEGMENTS: [&str; 6] = ["audio", "main", "segment", "stream", "ts", "video"];
/// Behind a separator, perhaps with a number, these end a segment's name.
const ENDINGS: [&str; 7] = ["chunk", "frag", "fragment", "init", "part", "seg", "segment"];
/// Directories of files that belong to playlists.
const PLAYLIST_DIRECTORIES: [&str; 6] = ["chunks", "dash", "hls", "ll-hls", "llhls", "segments"];

const SEPARATORS: [char; 4] = ['-', '_', '.', ':'];

pub fn is_nameless(stem: &str, is_segment: bool) -> bool {
    let word = without_number(stem.split(SEPARATORS).next().unwrap_or_default());
    let is = |known: &&str| word.eq_ignore_ascii_case(known);
    word.is_empty() || NAMELESS.iter().any(is) || is_segment && NAMELESS_SEGMENTS.iter().any(is)
}

/// `s1-12`, `s1_init` and `s1.seg7` without what counts: `s1`.
pub fn without_ending(stem: &str) -> Option<&str> {
    let (shorter, word) = stem.rsplit_once(SEPARATORS)?;
    let ending = without_number(word);
    let counts = ending.is_empty() || ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
    (counts && !shorter.is_empty() && !word.is_empty()).then_some(shorter)
}

/// `s12`, one digit shorter: where the stream's own number ends nobody can see.
pub fn without_digit(stem: &str) -> Option<&str> {
    stem.strip_suffix(|last: char| last.is_ascii_digit()).filter(|shorter| !shorter.is_empty())
}

pub fn is_playlist_directory(name: &str) -> bool {
    PLAYLIST_DIRECTORIES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Of a `.ts`: a segment of HLS, going by its name, and not a stream of its own.
pub fn looks_like_segment(stem: &str) -> bool {
    let is_numbered = stem.ends_with(|last: char| last.is_ascii_digit());
    without_ending(stem).is_some() || is_numbered && is_nameless(stem, false)
}

fn without_number(word: &str) -> &str {
    word.trim_end_matches(|digit: char| digit.is_ascii_digit())
}
