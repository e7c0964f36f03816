//! The secret that all balancers make SRT's cookies with: a caller may get its cookie from one and show it to another.
//! Whoever comes first writes it, with random bytes; everybody else takes what lies there.

use super::record::{FORMAT, Record, RecordError, Unknown};
use super::{Entry, Key, Kind, Put, Shelf, ShelfError};
use serde::{Deserialize, Serialize};
use std::io::Read;

pub const SECRET_LEN: usize = 32;
pub type CommonSecret = [u8; SECRET_LEN];

/// More often than this nobody is overtaken by others who write it.
const TRIES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("the record c/srt-secret in the store: {0}")]
    Record(RecordError),
    #[error("no random bytes, is /dev/urandom there? {0}")]
    Random(#[from] std::io::Error),
    #[error("the record c/srt-secret in the store changes all the time: who else writes it?")]
    Restless,
}

/// Where it lies.
pub fn srt_secret_key() -> Key {
    Key::new(Kind::Common, "srt-secret")
}

#[derive(Serialize, Deserialize)]
struct SecretRecord {
    v: u32,
    /// Hexadecimal.
    secret: String,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Record for SecretRecord {
    fn format(&self) -> u32 {
        self.v
    }
}

/// What lies in the shelf, and if nothing of sense does, `own` from now on: the secret that this balancer goes by already,
/// so that a store that was emptied changes nothing. To be asked again when the record changes.
pub async fn srt_secret(shelf: &dyn Shelf, own: Option<CommonSecret>) -> Result<CommonSecret, SecretError> {
    let key = srt_secret_key();
    let mut own = own;
    let mut entry = shelf.get(&key).await?;
    for _ in 0..TRIES_MAX {
        match read(&entry) {
            Some(Ok(secret)) => return Ok(secret),
            // A newer version's: not ours to replace.
            Some(Err(error @ RecordError::Format(_))) => return Err(SecretError::Record(error)),
            Some(Err(_)) | None => {}
        }
        let secret = match own {
            Some(secret) => secret,
            None => *own.insert(random()?),
        };
        match shelf.put(&key, Some(&text(&secret)), &entry.version).await? {
            Put::Done(_) => return Ok(secret),
            Put::Lost(theirs) => entry = theirs,
        }
    }
    Err(SecretError::Restless)
}

fn read(entry: &Entry) -> Option<Result<CommonSecret, RecordError>> {
    let parse = |record: SecretRecord| {
        let digits = record.secret.as_bytes();
        let mut secret = [0; SECRET_LEN];
        if digits.len() != 2 * SECRET_LEN {
            return Err(RecordError::Nonsense("its secret is not of 32 bytes"));
        }
        for (byte, digits) in secret.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                return Err(RecordError::Nonsense("its secret is not hexadecimal"));
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(secret)
    };
    entry.value.as_deref().map(|text| SecretRecord::read(text).and_then(parse))
}

fn text(secret: &CommonSecret) -> String {
    let secret = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    SecretRecord { v: FORMAT, secret, unknown: Unknown::new() }.text()
}

fn random() -> std::io::Result<CommonSecret> {
    let mut bytes = [0; SECRET_LEN];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[tokio::test]
    async fn the_first_one_makes_it_and_all_have_the_same() {
        let fake = Fake::new();
        let (a, b) = (fake.shelf("a"), fake.shelf("b"));
        let (ours, theirs) = tokio::join!(srt_secret(&*a, None), srt_secret(&*b, None));
        let ours = ours.unwrap();
        assert_eq!(ours, theirs.unwrap());
        assert_eq!(srt_secret(&*a, Some([7; 32])).await.unwrap(), ours, "one that lies there is not replaced");
        assert_ne!(srt_secret(&*Fake::new().shelf("c"), None).await.unwrap(), ours);
    }

    #[tokio::test]
    async fn a_store_that_was_emptied_gets_it_back() {
        let fake = Fake::new();
        let shelf = fake.shelf("a");
        let before = srt_secret(&*shelf, None).await.unwrap();
        fake.empty();
        assert_eq!(srt_secret(&*shelf, Some(before)).await.unwrap(), before);
        assert_eq!(srt_secret(&*fake.shelf("b"), None).await.unwrap(), before);
    }

    #[tokio::test]
    async fn nonsense_is_replaced_and_another_format_is_not() {
        let fake = Fake::new();
        let shelf = fake.shelf("a");
        let good = text(&[3; 32]);
        for nonsense in ["", "[]", "{\"v\":1,\"secret\":\"12\"}", &good.replace("03", "0x"), &good.replace("03", "0é")]
        {
            fake.scribble(&srt_secret_key(), Some(nonsense));
            assert_eq!(srt_secret(&*shelf, Some([9; 32])).await.unwrap(), [9; 32], "{nonsense}");
        }
        fake.scribble(&srt_secret_key(), Some(&good));
        assert_eq!(srt_secret(&*shelf, Some([9; 32])).await.unwrap(), [3; 32]);
        fake.scribble(&srt_secret_key(), Some(&good.replace("\"v\":1", "\"v\":2")));
        let refused = srt_secret(&*shelf, Some([9; 32])).await;
        assert!(matches!(refused, Err(SecretError::Record(RecordError::Format(2)))));
    }

    #[tokio::test]
    async fn a_store_that_is_not_reached_is_said() {
        let fake = Fake::new();
        fake.down(true);
        assert!(matches!(srt_secret(&*fake.shelf("a"), None).await, Err(SecretError::Shelf(_))));
    }
}
