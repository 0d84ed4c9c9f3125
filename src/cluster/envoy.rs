//! What is asked of a proxy's administration (<https://www.envoyproxy.io/docs/envoy/latest/operations/admin>).

use std::borrow::Cow;

use http::{Method, StatusCode};

use super::forward::{Answer, Question, Tunnel};
use crate::snapshot::{Fault, FaultKind};

/// The port of the administration; Istio binds it to loopback
/// (<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>).
pub const ADMIN_PORT: u16 = 15000;

/// A question to a proxy. All but the last one read; masks keep what is not asked for from travelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyQuestion {
    /// The whole configuration, with endpoints.
    Everything,
    /// Who the proxy is.
    Node,
    /// Clusters of all stages.
    Clusters,
    /// Listeners of all stages.
    Listeners,
    /// Routes.
    Routes,
    /// Endpoints as they were configured.
    ConfiguredEndpoints,
    /// Secrets; private keys are blanked out by Envoy.
    Secrets,
    /// Extensions that came by name.
    Extensions,
    /// Endpoints as the proxy sees them.
    Hosts,
    /// What its start waits for.
    Unready,
    /// Levels of its loggers. Envoy wants a POST for it, which without parameters changes nothing.
    Loggers,
    /// Sets levels: the only question that changes something.
    SetLevels(Levels),
}

/// Levels for loggers, as Envoy's `/logging` takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Levels {
    /// One level for all.
    All(String),
    /// Each logger its own.
    Each(Vec<(String, String)>),
}

/// Envoy's levels (<https://www.envoyproxy.io/docs/envoy/latest/operations/cli#cmdoption-l>).
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];

impl Levels {
    /// Reads `debug`, or `http:debug,rbac:info`.
    ///
    /// # Errors
    /// Why that is not it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let level = |word: &str| match word {
            "warn" => Ok("warning".to_owned()),
            word if LEVELS.contains(&word) => Ok(word.to_owned()),
            word => Err(format!("{word} is none of {}", LEVELS.join(", "))),
        };
        if !text.contains(':') {
            return level(text).map(Self::All);
        }
        let each = text.split(',').map(|pair| {
            let (logger, word) = pair.split_once(':').ok_or_else(|| format!("{pair} is not LOGGER:LEVEL"))?;
            // The name becomes part of a request.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if logger.is_empty() || !logger.chars().all(plain) {
                return Err(format!("{logger} is no name of a logger"));
            }
            Ok((logger.to_owned(), level(word)?))
        });
        each.collect::<Result<_, _>>().map(Self::Each)
    }
}

impl ProxyQuestion {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Everything => "/config_dump?include_eds",
            // The list of all extensions of the build lies beside these, and is the largest part.
            Self::Node => {
                "/config_dump?mask=bootstrap.node.id,bootstrap.node.metadata,bootstrap.node.user_agent_build_version"
            }
            Self::Clusters => "/config_dump?mask=dynamic_active_clusters,dynamic_warming_clusters,static_clusters",
            Self::Listeners => "/config_dump?mask=dynamic_listeners,static_listeners",
            Self::Routes => "/config_dump?mask=dynamic_route_configs,static_route_configs",
            Self::ConfiguredEndpoints => {
                "/config_dump?include_eds&mask=dynamic_endpoint_configs,static_endpoint_configs"
            }
            Self::Secrets => "/config_dump?mask=dynamic_active_secrets,dynamic_warming_secrets,static_secrets",
            Self::Extensions => "/config_dump?mask=ecds_filters",
            Self::Hosts => "/clusters?format=json",
            Self::Unready => "/init_dump",
            Self::Loggers => "/logging",
            Self::SetLevels(Levels::All(level)) => return Cow::Owned(format!("/logging?level={level}")),
            Self::SetLevels(Levels::Each(each)) => {
                let pairs: Vec<String> = each.iter().map(|(logger, level)| format!("{logger}:{level}")).collect();
                return Cow::Owned(format!("/logging?paths={}", pairs.join(",")));
            }
        })
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Self::Loggers | Self::SetLevels(_) => Method::POST,
            _ => Method::GET,
        }
    }

    /// The longest answer that is read: ten times what a mesh of thousands of Services makes.
    pub(super) fn cap(&self) -> usize {
        match self {
            Self::Loggers | Self::SetLevels(_) | Self::Unready => 4 << 20,
            _ => 1 << 30,
        }
    }
}

impl Tunnel {
    /// Asks a proxy; its answer is handed over while it arrives.
    ///
    /// # Errors
    /// As [`Tunnel::ask`], and when the proxy answers with another status.
    pub async fn ask_proxy(
        &mut self,
        question: &ProxyQuestion,
        on_piece: impl FnMut(&[u8]) + Send,
    ) -> Result<Answer, Fault> {
        let answer = self.ask_streamed(&Question::Proxy(question.clone()), on_piece).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let said = super::fault::clean(&String::from_utf8_lossy(&answer.body), 200);
        Err(Fault {
            status: Some(answer.status.as_u16()),
            ..Fault::new(
                FaultKind::Malformed,
                format!("the proxy answers {} with status {}: {said}", question.path(), answer.status.as_u16()),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    #[test]
    fn levels_are_read_and_written_as_envoy_takes_them() {
        let path = |text: &str| ProxyQuestion::SetLevels(Levels::parse(text).unwrap()).path().into_owned();
        assert_eq!(path("debug"), "/logging?level=debug");
        assert_eq!(path("http:debug,rbac:warn"), "/logging?paths=http:debug,rbac:warning");
        for wrong in ["", "loud", "http:", ":debug", "http:debug,", "a&b:debug", "http:debug,rbac", "a b:info"] {
            assert!(Levels::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_loggers_are_posted_to() {
        let all = [
            ProxyQuestion::Everything,
            ProxyQuestion::Node,
            ProxyQuestion::Clusters,
            ProxyQuestion::Listeners,
            ProxyQuestion::Routes,
            ProxyQuestion::ConfiguredEndpoints,
            ProxyQuestion::Secrets,
            ProxyQuestion::Extensions,
            ProxyQuestion::Hosts,
            ProxyQuestion::Unready,
        ];
        assert!(all.iter().all(|question| question.method() == Method::GET));
        assert_eq!(
            (ProxyQuestion::Loggers.method(), ProxyQuestion::Loggers.path().as_ref()),
            (Method::POST, "/logging")
        );
    }
}
