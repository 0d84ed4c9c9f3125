//! Programs that people use beside this one, and their versions.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::tools::{self, Trouble};
use crate::process;

/// az starts an interpreter and reads its extensions first.
const LIMIT: Duration = Duration::from_secs(10);

/// A program, how it is asked for its version, and where in its JSON that stands.
struct Known {
    name: &'static str,
    args: &'static [&'static str],
    version: &'static str,
    extension: Option<&'static str>,
}

const KNOWN: [Known; 3] = [
    Known {
        name: "kubectl",
        args: &["version", "--client", "-o", "json"],
        version: "/clientVersion/gitVersion",
        extension: None,
    },
    Known {
        name: "istioctl",
        // Without `--remote=false` it would look for istiod.
        args: &["version", "--remote=false", "-o", "json"],
        version: "/clientVersion/version",
        extension: None,
    },
    Known {
        name: "az",
        args: &["version", "-o", "json"],
        version: "/azure-cli",
        extension: Some("/extensions/aks-preview"),
    },
];

/// Looks for every program, and asks it. The lines are for the snapshot.
pub async fn look(left: Duration) -> Vec<Vec<u8>> {
    let limit = LIMIT.min(left);
    let lines = KNOWN.iter().map(async |known| one(known, limit).await.to_string().into_bytes());
    futures::future::join_all(lines).await
}

async fn one(known: &Known, limit: Duration) -> Value {
    let mut line = json!({"metadata": {"name": known.name}});
    let Some(path) = process::find(known.name) else { return line };
    line["path"] = path.display().to_string().into();
    match tools::output(&path, known.args, limit).await {
        Ok(said) => match understood(known, &said) {
            Some((version, extension)) => {
                line["version"] = version.into();
                line["extension"] = extension.into();
            }
            None => line["trouble"] = "what it prints is not understood".into(),
        },
        Err(trouble @ Trouble::NotStarted) => line["trouble"] = trouble.to_string().into(),
        Err(trouble) => line["trouble"] = format!("{} {}: {trouble}", known.name, known.args.join(" ")).into(),
    }
    line
}

fn understood(known: &Known, said: &[u8]) -> Option<(String, Option<String>)> {
    let said: Value = serde_json::from_slice(said).ok()?;
    let text = |pointer: &str| {
        let word = said.pointer(pointer)?.as_str()?;
        let is_version = !word.is_empty() && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_graphic());
        is_version.then(|| word.to_owned())
    };
    Some((text(known.version)?, known.extension.and_then(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_where_the_programs_put_them_and_rubbish_is_none() {
        let known = |name: &str| KNOWN.iter().find(|known| known.name == name);
        let read = |name: &str, said: &str| known(name).and_then(|known| understood(known, said.as_bytes()));
        let plain = |version: &str| Some((version.to_owned(), None));
        assert_eq!(read("kubectl", r#"{"clientVersion":{"gitVersion":"v1.34.2"}}"#), plain("v1.34.2"));
        assert_eq!(read("istioctl", r#"{"clientVersion":{"version":"1.30.2"}}"#), plain("1.30.2"));
        let az = r#"{"azure-cli":"2.77.0","extensions":{"aks-preview":"18.0.0b2"}}"#;
        assert_eq!(read("az", az), Some(("2.77.0".to_owned(), Some("18.0.0b2".to_owned()))));
        for odd in ["", "[]", "null", r#"{"clientVersion":7}"#, "{\"clientVersion\":{\"gitVersion\":\"a b\\u001b\"}}"] {
            assert_eq!(read("kubectl", odd), None, "{odd}");
        }
    }
}
