//! The end of a connection that somebody is to hear: our last bytes, our FIN, and then the client's. Bytes of its that
//! nobody read would turn our FIN into a RST that overtakes what we said.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a client may take to hear it all and to close its end.
const TIME_MAX: Duration = Duration::from_secs(2);
/// What it still says meanwhile is taken and thrown away.
const BYTES_MAX: usize = 1 << 20;

pub async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, words: &[u8]) {
    let last_words = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        let mut len = 0;
        while len < BYTES_MAX {
            match stream.read(&mut rest).await? {
                0 => break,
                n => len += n,
            }
        }
        io::Result::Ok(())
    };
    // Whether the client listens is its own affair; its place is given back either way.
    let _ = tokio::time::timeout(TIME_MAX, last_words).await;
}
