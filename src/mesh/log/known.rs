//! What a known message is: by which words it is found, what it means, and what to do.
//!
//! Every text is one that istiod, its agent or Envoy writes; the tables name the file of the source it is from.

use crate::engine::Severity;
use crate::model::log::LogPart;

/// A message that is known.
#[derive(Debug)]
pub struct Known {
    /// Its name; used in bundles and reports, never changed.
    pub id: &'static str,
    /// In whose log it stands.
    pub part: LogPart,
    /// What its text has, in this order.
    pub words: &'static [&'static str],
    /// What its text does not have.
    pub unless: &'static [&'static str],
    /// Whether it is written at the level `info`, so that a line of that level is compared with it too.
    pub quiet: bool,
    /// Whether other programs write such a text, too: in a log that may be any program's it counts only once that has had
    /// a line of Istio or Envoy.
    pub generic: bool,
    /// Whether it is over once Envoy says that it is ready.
    pub until_ready: bool,
    /// After which success of the proxy it is over.
    pub until: Option<Until>,
    /// How bad it is.
    pub severity: Severity,
    /// What it means, a sentence.
    pub meaning: &'static str,
    /// What it names: the text between the first and the next of the second.
    pub about: Option<(&'static str, &'static str)>,
    /// The check whose finding it belongs to.
    pub code: &'static str,
    /// What to do.
    pub steps: &'static [Advice],
}

/// What a proxy succeeds in after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Connecting to istiod.
    Connected,
    /// Getting a certificate.
    Certified,
    /// Having a root certificate.
    Rooted,
}

/// A step; `{pod}`, `{namespace}` and `{revision}` in its words are filled in.
#[derive(Debug)]
pub struct Advice {
    /// What it does.
    pub text: &'static str,
    /// The command; empty for a step that is none.
    pub command: &'static [&'static str],
}

/// A message with the usual settings.
pub(super) const BASE: Known = Known {
    id: "",
    part: LogPart::Any,
    words: &[],
    unless: &[],
    quiet: false,
    generic: false,
    until_ready: false,
    until: None,
    severity: Severity::Warning,
    meaning: "",
    about: None,
    code: "",
    steps: &[],
};

/// Which proxies are in sync, and what was rejected.
pub(super) const SYNC: Advice = Advice {
    text: "shows which proxies reject what, in Envoy's words",
    command: &["kubectl", "asm", "proxy-status", "-A"],
};
/// What the whole add-on looks like.
pub(super) const STATUS: Advice =
    Advice { text: "shows whether istiod and its way are well", command: &["kubectl", "asm", "status"] };
/// What a proxy was told.
pub(super) const CONFIG: Advice = Advice {
    text: "shows what the proxy was told, and what it refuses",
    command: &["kubectl", "asm", "proxy-config", "all", "{pod}", "-n", "{namespace}"],
};
/// Whether the certificate authority is well.
pub(super) const AUTHORITY: Advice = Advice {
    text: "shows whether the certificate authority and the roots are well",
    command: &["kubectl", "asm", "status", "--only", "CA"],
};
/// Why a pod is as it is.
pub(super) const DESCRIBE: Advice = Advice {
    text: "shows states, limits and events of the pod",
    command: &["kubectl", "describe", "pod", "{pod}", "-n", "{namespace}"],
};

impl Known {
    /// Whether a text is this message.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let mut rest = text;
        for words in self.words {
            let Some(at) = rest.find(words) else { return false };
            rest = &rest[at + words.len()..];
        }
        !self.words.is_empty() && !self.unless.iter().any(|words| text.contains(words))
    }

    /// What a text names.
    #[must_use]
    pub fn about<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, after) = self.about?;
        let rest = &text[text.find(before)? + before.len()..];
        let end = rest.find(after).unwrap_or(rest.len());
        Some(rest[..end].trim_matches(['"', '\'', ' '])).filter(|found| !found.is_empty())
    }
}

/// A message by its name.
#[must_use]
pub fn known(id: &str) -> Option<&'static Known> {
    all().find(|known| known.id == id)
}

/// The place of a message among all: what is closer to the cause stands first.
#[must_use]
pub fn rank(id: &str) -> usize {
    all().position(|known| known.id == id).unwrap_or(usize::MAX)
}

/// All messages.
pub fn all() -> impl Iterator<Item = &'static Known> {
    super::istiod::MESSAGES.iter().chain(super::proxy::MESSAGES).chain(super::access::MESSAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_a_name_of_its_own_and_says_what_it_means() {
        let mut seen = std::collections::BTreeSet::new();
        for message in all() {
            assert!(seen.insert(message.id), "{} is there twice", message.id);
            assert!(!message.id.is_empty() && !message.meaning.is_empty(), "{message:?}");
            assert!(!message.meaning.ends_with('.'), "{}: a sentence without a period", message.id);
            let told = message.severity == Severity::Info || !message.steps.is_empty();
            assert!(told, "{}: nothing to do", message.id);
            assert!(message.code.is_empty() || crate::checks::by_code(message.code).is_some(), "{}", message.code);
        }
    }
}
