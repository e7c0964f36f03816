//! A pseudo-random stream that can be filled and checked from any position: every byte depends on the seed and on
//! where it stands, so a lost, repeated, swapped or foreign byte shows.

/// Fills `out` with the bytes of stream `seed` from `position` on.
pub fn fill(out: &mut [u8], seed: u64, position: u64) {
    let mut word = position / 8;
    let lead = (position % 8) as usize;
    let mut out = out;
    if lead > 0 {
        let n = out.len().min(8 - lead);
        out[..n].copy_from_slice(&mix(seed, word)[lead..lead + n]);
        out = &mut out[n..];
        word += 1;
    }
    let mut chunks = out.chunks_exact_mut(8);
    for chunk in &mut chunks {
        chunk.copy_from_slice(&mix(seed, word));
        word += 1;
    }
    let tail = chunks.into_remainder();
    let n = tail.len();
    tail.copy_from_slice(&mix(seed, word)[..n]);
}

/// The first position at which `data`, received at `position`, differs from stream `seed`.
pub fn first_difference(data: &[u8], seed: u64, position: u64) -> Option<u64> {
    let mut expected = [0u8; 4096];
    let mut at = position;
    for part in data.chunks(expected.len()) {
        let expected = &mut expected[..part.len()];
        fill(expected, seed, at);
        if expected != part {
            let offset = expected.iter().zip(part).position(|(a, b)| a != b).unwrap_or(0);
            return Some(at + offset as u64);
        }
        at += part.len() as u64;
    }
    None
}

/// splitmix64.
fn mix(seed: u64, word: u64) -> [u8; 8] {
    let mut z = seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_stream() {
        let mut whole = [0u8; 100];
        fill(&mut whole, 7, 3);
        for cut in 0..100 {
            let mut parts = [0u8; 100];
            fill(&mut parts[..cut], 7, 3);
            fill(&mut parts[cut..], 7, 3 + cut as u64);
            assert_eq!(whole, parts, "cut at {cut}");
        }
    }

    #[test]
    fn one_wrong_byte_is_found_where_it_stands() {
        let mut data = vec![0u8; 10_000];
        fill(&mut data, 1, 5);
        assert_eq!(first_difference(&data, 1, 5), None);
        data[9_001] ^= 1;
        assert_eq!(first_difference(&data, 1, 5), Some(9_006));
    }

    #[test]
    fn a_shifted_stream_differs() {
        let mut data = [0u8; 64];
        fill(&mut data, 1, 0);
        assert!(first_difference(&data, 1, 8).is_some());
        assert!(first_difference(&data, 2, 0).is_some());
    }
}
