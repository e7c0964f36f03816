//! Certificates are renewed while streams run: the files are looked at every few seconds, and read again on SIGHUP.
//!
//! Looking asks nothing of the file system that it may not have (inotify sees neither a bind mount's nor a network
//! share's changes), and sees through symbolic links, which is how certificates are usually exchanged.

use super::{PairFiles, Tls};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tracing::{error, info};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed_at: (i64, i64),
}

pub fn stamps(files: &[PairFiles]) -> Vec<Stamp> {
    files.iter().flat_map(|pair| [stamp(&pair.certificate), stamp(&pair.key)]).collect()
}

/// All zero where there is no file. The change time, unlike the modification time, cannot be set back by a copy.
fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).map_or(Stamp::default(), |m| Stamp {
        device: m.dev(),
        inode: m.ino(),
        size: m.size(),
        changed_at: (m.ctime(), m.ctime_nsec()),
    })
}

/// Keeps `tls` up to date. Of two files that change one after the other the first alone does not fit: that is said, and
/// the second mends it. Without certificates there is nothing to do, but SIGHUP must not end the process either.
pub async fn watch(tls: Option<Arc<Tls>>, mut hangup: Signal) {
    loop {
        let asked = tokio::select! {
            asked = hangup.recv() => asked.is_some(),
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let Some(tls) = tls.clone() else {
            if asked {
                info!("SIGHUP: no tls_certificate is set, so there is none to read again");
            }
            continue;
        };
        let read = move || (asked || tls.is_stale()).then(|| tls.reload());
        match tokio::task::spawn_blocking(read).await {
            Ok(None) => {}
            Ok(Some(Ok(()))) => info!("certificates read again: new connections get them"),
            Ok(Some(Err(error))) => {
                error!(remedy = error.remedy(), "the old certificates stay in use: {error}");
            }
            Err(error) => error!(%error, "certificates could not be looked at"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::Folder;
    use balancer_common::abi::ServiceKind;

    #[test]
    fn a_new_pair_replaces_the_old_one_and_a_broken_one_does_not() {
        let folder = Folder::new();
        folder.issue("a", &["a.test"], 30);
        let tls = Tls::open(&[folder.path("a.crt")], &[folder.path("a.key")]).unwrap().unwrap();
        let before = tls.config(ServiceKind::Http);
        assert!(!tls.is_stale());

        folder.issue("b", &["a.test"], 30);
        std::fs::rename(folder.path("b.crt"), folder.path("a.crt")).unwrap();
        assert!(tls.is_stale());
        tls.reload().unwrap_err();
        assert!(!tls.is_stale(), "said once");
        assert!(Arc::ptr_eq(&before, &tls.config(ServiceKind::Http)));

        std::fs::rename(folder.path("b.key"), folder.path("a.key")).unwrap();
        assert!(tls.is_stale());
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config(ServiceKind::Http)));

        std::fs::remove_file(folder.path("a.key")).unwrap();
        assert!(tls.is_stale());
        tls.reload().unwrap_err();
        assert_eq!(tls.config(ServiceKind::Http).alpn_protocols, [b"http/1.1"]);
        assert!(tls.config(ServiceKind::Rtmp).alpn_protocols.is_empty());
    }

    #[test]
    fn another_target_of_a_link_is_another_file() {
        let folder = Folder::new();
        folder.write("one", "x");
        folder.write("two", "x");
        let link = folder.path("link");
        std::os::unix::fs::symlink(folder.path("one"), &link).unwrap();
        let before = stamp(&link);
        assert_eq!(before, stamp(&link));
        std::fs::remove_file(&link).unwrap();
        assert_eq!(stamp(&link), Stamp::default());
        std::os::unix::fs::symlink(folder.path("two"), &link).unwrap();
        assert_ne!(before, stamp(&link));
    }
}
