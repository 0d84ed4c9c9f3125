//! The fields of Istio's MeshConfig and ProxyConfig, and what is nearest to a name that is none of them.
//!
//! From `mesh/v1alpha1/config.proto` and `proxy.proto` in istio/api as of Istio 1.31, with their JSON names.

use serde_json::Value;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Number,
    /// A text.
    Text,
    /// One of a few words.
    Choice,
    /// A time with its unit, such as `5s`.
    Duration,
    /// Fields of its own.
    Object,
    /// A list.
    List,
}

use Kind::{Bool, Choice, Duration, List, Number, Object, Text};

/// Fields of MeshConfig.
pub const MESH: &[(&str, Kind)] = &[
    ("accessLogEncoding", Choice),
    ("accessLogFile", Text),
    ("accessLogFormat", Text),
    ("ca", Object),
    ("caCertificates", List),
    ("certificates", List),
    ("configSources", List),
    ("connectTimeout", Duration),
    ("defaultConfig", Object),
    ("defaultDestinationRuleExportTo", List),
    ("defaultHttpRetryPolicy", Object),
    ("defaultProviders", Object),
    ("defaultServiceExportTo", List),
    ("defaultTrafficPolicy", Object),
    ("defaultVirtualServiceExportTo", List),
    ("disableEnvoyListenerLog", Bool),
    ("discoverySelectors", List),
    ("dnsRefreshRate", Duration),
    ("enableAutoMtls", Bool),
    ("enableEnvoyAccessLogService", Bool),
    ("enablePrometheusMerge", Bool),
    ("enableTracing", Bool),
    ("extensionProviders", List),
    ("h2UpgradePolicy", Choice),
    ("hboneIdleTimeout", Duration),
    ("inboundClusterStatName", Text),
    ("inboundTrafficPolicy", Object),
    ("ingressClass", Text),
    ("ingressControllerMode", Choice),
    ("ingressSelector", Text),
    ("ingressService", Text),
    ("localityLbSetting", Object),
    ("meshMTLS", Object),
    ("outboundClusterStatName", Text),
    ("outboundTrafficPolicy", Object),
    ("pathNormalization", Object),
    ("protocolDetectionTimeout", Duration),
    ("proxyHttpPort", Number),
    ("proxyInboundListenPort", Number),
    ("proxyListenPort", Number),
    ("rootNamespace", Text),
    ("serviceEntryVisibility", Object),
    ("serviceScopeConfigs", List),
    ("serviceSettings", List),
    ("tcpKeepalive", Object),
    ("tlsDefaults", Object),
    ("trustDomain", Text),
    ("trustDomainAliases", List),
    ("verifyCertificateAtClient", Bool),
    ("zoneAwareLbSetting", Object),
];

/// Fields of ProxyConfig, which is what `defaultConfig` holds.
pub const PROXY: &[(&str, Kind)] = &[
    ("availabilityZone", Text),
    ("binaryPath", Text),
    ("caCertificatesPem", List),
    ("concurrency", Number),
    ("configPath", Text),
    ("connectionSettings", Object),
    ("controlPlaneAuthPolicy", Choice),
    ("customConfigFile", Text),
    ("discoveryAddress", Text),
    ("discoveryRefreshDelay", Duration),
    ("drainDuration", Duration),
    ("envoyAccessLogService", Object),
    ("envoyMetricsService", Object),
    ("envoyMetricsServiceAddress", Text),
    ("extraStatTags", List),
    ("fileFlushInterval", Duration),
    ("fileFlushMinSizeKb", Number),
    ("gatewayTopology", Object),
    ("holdApplicationUntilProxyStarts", Bool),
    ("image", Object),
    ("interceptionMode", Choice),
    ("meshId", Text),
    ("privateKeyProvider", Object),
    ("proxyAdminPort", Number),
    ("proxyBootstrapTemplatePath", Text),
    ("proxyHeaders", Object),
    ("proxyMetadata", Object),
    ("proxyStatsMatcher", Object),
    ("readinessProbe", Object),
    ("runtimeValues", Object),
    ("sds", Object),
    ("serviceCluster", Text),
    ("statNameLength", Number),
    ("statsCompression", Bool),
    ("statsdUdpAddress", Text),
    ("statusPort", Number),
    ("terminationDrainDuration", Duration),
    ("tracing", Object),
    ("tracingServiceName", Choice),
    ("zipkinAddress", Text),
];

/// A known field by the name somebody wrote: its JSON name, or its name in the proto file, which Istio reads too.
#[must_use]
pub fn known(fields: &[(&'static str, Kind)], written: &str) -> Option<(&'static str, Kind)> {
    let find = |name: &str| fields.iter().find(|(field, _)| *field == name).copied();
    find(written).or_else(|| {
        let is_proto = written == "mesh_mTLS" || !written.bytes().any(|b| b.is_ascii_uppercase());
        if is_proto && written.contains('_') { find(&camel(written)) } else { None }
    })
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// The field that somebody probably meant, when it differs in a few letters or only in case.
#[must_use]
pub fn nearest(fields: &[(&'static str, Kind)], written: &str) -> Option<&'static str> {
    let folded = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = folded(written);
    let allowed = (wanted.chars().count() / 4).max(1);
    fields
        .iter()
        .map(|(field, _)| (distance(&wanted, &folded(field)), *field))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, field)| field)
}

/// How many letters must be inserted, removed or replaced to make one text the other.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, above), pair) in b.iter().zip(&row[1..]).zip(row.iter()) {
            let left = next.last().copied().unwrap_or_default();
            next.push((pair + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

impl Kind {
    /// What should be there, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Bool => "true or false, without quotes",
            Number => "a number",
            Text => "a text; numbers and true or false need quotes",
            Choice => "one of its words",
            Duration => "a time with its unit, such as 5s",
            Object => "fields of its own, indented below it",
            List => "a list",
        }
    }

    /// Whether istiod takes a value for such a field. Absent values are always taken.
    #[must_use]
    pub fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null)
            | (Bool, Value::Bool(_))
            | (Number | Choice, Value::Number(_))
            | (Text | Choice, Value::String(_))
            | (Object, Value::Object(_))
            | (List, Value::Array(_)) => true,
            (Number, Value::String(text)) => text.parse::<i64>().is_ok(),
            (Duration, Value::String(text)) => is_duration(text),
            // istiod's YAML reader takes these words for true and false.
            (Bool, Value::String(text)) => {
                ["y", "yes", "on", "n", "no", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
            }
            _ => false,
        }
    }
}

/// What `time.ParseDuration` of Go takes.
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let units = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(units);
        let is_number = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
        if !is_number || !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit) {
            return false;
        }
        rest = next;
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn both_names_of_a_field_are_known_and_nothing_in_between() {
        assert_eq!(known(MESH, "accessLogFile").unwrap().0, "accessLogFile");
        assert_eq!(known(MESH, "access_log_file").unwrap().0, "accessLogFile");
        assert_eq!(known(MESH, "mesh_mTLS").unwrap().0, "meshMTLS");
        assert_eq!(known(MESH, "h2_upgrade_policy").unwrap().0, "h2UpgradePolicy");
        for other in ["accesslogfile", "accessLog_file", "AccessLogFile", "", "_", "concurrency"] {
            assert_eq!(known(MESH, other), None, "{other}");
        }
    }

    #[test]
    fn a_typing_error_finds_its_field_and_another_word_none() {
        for (written, meant) in [
            ("accesslogFile", Some("accessLogFile")),
            ("acessLogFile", Some("accessLogFile")),
            ("access-log-file", Some("accessLogFile")),
            ("discoverySelector", Some("discoverySelectors")),
            ("outboundTraficPolicy", Some("outboundTrafficPolicy")),
            // The spelling on Microsoft's page.
            ("tcpKeepAlive", Some("tcpKeepalive")),
            ("mixerAddress", None),
            ("x", None),
        ] {
            assert_eq!(nearest(MESH, written), meant, "{written}");
        }
        assert_eq!(nearest(PROXY, "statsUdpAddress"), Some("statsdUdpAddress"));
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn values_are_taken_as_istiods_decoder_takes_them() {
        for (kind, value, taken) in [
            (Bool, json!(true), true),
            (Bool, json!("true"), false),
            (Bool, json!("yes"), true),
            (Number, json!("15001"), true),
            (Number, json!("many"), false),
            (Text, json!(1), false),
            (Choice, json!(1), true),
            (Duration, json!("5s"), true),
            (Duration, json!("1h30m0.5s"), true),
            (Duration, json!("5"), false),
            (Duration, json!(5), false),
            (Duration, json!(""), false),
            (Object, json!([]), false),
            (List, json!({}), false),
            (List, Value::Null, true),
        ] {
            assert_eq!(kind.takes(&value), taken, "{kind:?} {value}");
        }
    }
}
