//! What goes wrong with Redis, in the words of a shelf, and what to do about it.

use super::ShelfError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What an error means for the call that got it.
pub fn of(error: &RedisError) -> ShelfError {
    if error.is_timeout() {
        return ShelfError::Late;
    }
    let words = words(error);
    match error.kind() {
        ErrorKind::Server(kind) => match kind {
            // It will be able to, once it has loaded its data or its fellows have agreed.
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain => ShelfError::Down(words),
            _ => ShelfError::Refused(words),
        },
        // The crate keeps the words to itself.
        ErrorKind::AuthenticationFailed => ShelfError::Refused("AUTH: wrong user or password".into()),
        // What the server says by a word that the crate does not know, like OOM.
        ErrorKind::Extension => ShelfError::Refused(words),
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => ShelfError::Refused(format!("unintelligible: {words}")),
        _ => ShelfError::Down(words),
    }
}

/// The connection leads to a server that can no longer be written to: there may be another one by now.
pub fn asks_for_another_server(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Who runs this can do something about it.
pub fn remedy(error: &ShelfError) -> &'static str {
    let text = match error {
        ShelfError::Late => return "is the server overloaded, or far away? See store_timeout",
        ShelfError::Down(text) | ShelfError::Refused(text) => text.as_str(),
    };
    let has = |word: &str| text.contains(word);
    if has("WRONGPASS") || has("NOAUTH") || has("AUTH") {
        "correct the user and the password in store"
    } else if has("NOPERM") {
        "let the user read and write keys and channels that begin with store_prefix, and run scripts"
    } else if has("OOM") {
        "give the server more memory: raise its maxmemory"
    } else if has("READONLY") {
        "name the primary in store, or its Sentinels"
    } else if has("MISCONF") {
        "the server cannot write to its disk: see its log"
    } else if has("MOVED") || has("CLUSTER") {
        "is that a Redis Cluster? Write redis+cluster:// for one, and redis:// for a single server"
    } else if has("certificate") || has("Certificate") || has("CA") {
        "name the CA of the server's certificate in store_ca"
    } else {
        "is the address in store right, and does the server run?"
    }
}

/// The server's own, where it has said something.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) if detail.starts_with(code) => detail.to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_says(line: &str) -> ShelfError {
        let value = redis::parse_redis_value(line.as_bytes()).unwrap();
        of(&value.extract_error().unwrap_err())
    }

    #[test]
    fn the_server_s_words_survive() {
        let oom = server_says("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        assert_eq!(oom, ShelfError::Refused("OOM command not allowed when used memory > 'maxmemory'.".into()));
        assert!(remedy(&oom).contains("maxmemory"));
        let loading = server_says("-LOADING Redis is loading the dataset in memory\r\n");
        assert!(matches!(loading, ShelfError::Down(text) if text.contains("loading the dataset")));
        assert!(remedy(&server_says("-NOPERM no\r\n")).contains("store_prefix"));
    }
}
