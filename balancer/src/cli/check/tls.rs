//! Whether the certificates can be served: files, keys, dates, and who may read the keys.

use super::finding::Findings;
use super::is_readable_by_all;
use crate::config::Settings;
use crate::tls::{EXPIRES_SOON, Pair, TlsError, pair_files};
use std::time::{Duration, SystemTime};

const AREA: &str = "tls";

pub fn look_and_judge(settings: &Settings, findings: &mut Findings) {
    for files in pair_files(&settings.tls_certificates, &settings.tls_keys) {
        judge(Pair::read(&files), SystemTime::now(), findings);
        if is_readable_by_all(&files.key) {
            let what = format!("tls_key: {} is readable by everybody on this host", files.key.display());
            findings.warn(AREA, what, &format!("chmod 600 {}", files.key.display()));
        }
    }
}

fn judge(pair: Result<Pair, TlsError>, now: SystemTime, findings: &mut Findings) {
    let pair = match pair {
        Ok(pair) => pair,
        Err(error) => {
            return findings.error(AREA, error.to_string(), &error.remedy());
        }
    };
    let file = pair.files.certificate.display();
    let names = if pair.facts.names.is_empty() { "no name".into() } else { pair.facts.names.join(", ") };
    let days = |left: Duration| left.as_secs() / 86_400;
    let remedy = "renew it; a running balancer takes the new file by itself";
    match pair.valid_for(now) {
        None => findings.error(AREA, format!("{file} for {names} has expired"), remedy),
        Some(left) if left < EXPIRES_SOON => {
            findings.warn(AREA, format!("{file} for {names} expires in {} days", days(left)), remedy);
        }
        Some(left) => findings.ok(AREA, format!("{file} for {names}, valid for {} days", days(left))),
    }
    if pair.facts.names.is_empty() {
        findings.warn(AREA, format!("{file} has no subject alternative name: clients accept it for no host"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::finding::Level;
    use crate::config::XdpMode;
    use crate::tls::fixtures::Folder;
    use std::os::unix::fs::PermissionsExt;

    fn levels(names: &[&str], mode: u32) -> Vec<(Level, String)> {
        let folder = Folder::new();
        let mut settings = Settings::default();
        for (name, days) in [("good", 90), ("soon", 3), ("late", -1)] {
            folder.issue(name, &["a.test"], days);
        }
        folder.issue("nameless", &[], 90);
        for name in names {
            let key = folder.path(&format!("{name}.key"));
            std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
            settings.tls_certificates.push(folder.path(&format!("{name}.crt")));
            settings.tls_keys.push(key);
        }
        if names == ["late", "good"] {
            settings.tls_keys.reverse();
        }
        let mut findings = Findings::new(XdpMode::Auto);
        look_and_judge(&settings, &mut findings);
        let prefix = folder.path("").display().to_string();
        findings.all.iter().map(|f| (f.level, f.what.replace(&prefix, ""))).collect()
    }

    #[test]
    fn dates_names_and_who_may_read_the_key_are_looked_at() {
        let found = levels(&["good", "soon", "late", "nameless"], 0o600);
        assert_eq!(found[0], (Level::Ok, "good.crt for a.test, valid for 89 days".into()));
        assert_eq!(found[1], (Level::Warn, "soon.crt for a.test expires in 2 days".into()));
        assert_eq!(found[2], (Level::Error, "late.crt for a.test has expired".into()));
        assert_eq!(found[3], (Level::Ok, "nameless.crt for no name, valid for 89 days".into()));
        assert_eq!(found[4].0, Level::Warn);
        let found = levels(&["good"], 0o644);
        assert_eq!(found[1], (Level::Warn, "tls_key: good.key is readable by everybody on this host".into()));
        assert_eq!(levels(&[], 0), []);
    }

    #[test]
    fn a_key_of_another_certificate_is_an_error() {
        let found = levels(&["late", "good"], 0o600);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], (Level::Error, "good.key is not the key of late.crt".into()));
    }
}
