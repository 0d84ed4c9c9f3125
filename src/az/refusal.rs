//! What `az` complains about, as a fault with its mending in the same line. Its own words are not passed on: they can
//! hold identifiers and tokens.

use std::io;

use crate::mesh::azure_errors::{aadsts, denied_action};
use crate::snapshot::{Fault, FaultKind};

/// `az` could not be started.
pub(super) fn not_started(error: &io::Error) -> Fault {
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            "az is not installed, or not on PATH: https://learn.microsoft.com/cli/azure/install-azure-cli".to_owned()
        }
        io::ErrorKind::PermissionDenied => "az may not be run by this user".to_owned(),
        kind => format!("az cannot be started ({kind})"),
    };
    Fault::new(FaultKind::Unreachable, message)
}

const OPEN_UPGRADE: &str =
    "a mesh upgrade is open, and Azure tells no further one until it is completed or rolled back";

/// Whether the only reason is that an upgrade is open.
pub(super) fn is_open_upgrade(fault: &Fault) -> bool {
    fault.message == OPEN_UPGRADE
}

/// Why a call failed.
pub(super) fn classify(what: &str, said: &str, code: Option<i32>) -> Fault {
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    let (kind, message) = if let Some(code) = aadsts(said) {
        (FaultKind::Unauthenticated, format!("the login of az is not accepted any more ({code}): az login"))
    } else if has(&["az login", "No subscriptions found", "not logged in"]) {
        (FaultKind::Unauthenticated, "az is not logged in: az login".to_owned())
    } else if has(&["upgrade is in progress", "MeshUpgradeInProgress"]) {
        (FaultKind::Malformed, OPEN_UPGRADE.to_owned())
    } else if has(&[
        "SubscriptionNotFound",
        "InvalidSubscriptionId",
        "doesn't exist in cloud",
        "Check the spelling and casing",
    ]) {
        (
            FaultKind::Unreachable,
            "az does not know the cluster's subscription; az account list shows those of its login, --subscription names one"
                .to_owned(),
        )
    } else if has(&["AuthorizationFailed", "LinkedAuthorizationFailed", "does not have authorization"]) {
        let action = denied_action(said).map_or_else(String::new, |action| format!(" ({action})"));
        (
            FaultKind::Forbidden,
            format!("the Azure role behind az may not do {what}{action}; the role Reader on the cluster is enough"),
        )
    } else if has(&["ResourceGroupNotFound", "ResourceNotFound", "could not be found"]) {
        (
            FaultKind::Unreachable,
            "Azure has no such cluster in that resource group and subscription; az aks list -o table shows those that there are"
                .to_owned(),
        )
    } else if has(&["misspelled or not recognized", "unrecognized arguments", "invalid choice", "'NoneType' object"]) {
        (FaultKind::Malformed, format!("this version of az is too old for {what}: az upgrade"))
    } else if has(&["TooManyRequests", "429 Client Error", "throttled"]) {
        (FaultKind::Unreachable, "Azure answers too many requests at the moment; try again in a minute".to_owned())
    } else if has(&["CERTIFICATE_VERIFY_FAILED", "SSLError", "certificate verify failed"]) {
        (
            FaultKind::Unreachable,
            "az does not trust the certificate that answers for Azure; REQUESTS_CA_BUNDLE names the authority of a proxy"
                .to_owned(),
        )
    } else if has(&[
        "Max retries exceeded",
        "Failed to establish a new connection",
        "Name or service not known",
        "Connection aborted",
        "ConnectionError",
    ]) {
        (FaultKind::Unreachable, "az cannot reach Azure; is there a way to management.azure.com from here?".to_owned())
    } else {
        let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("failed with exit code {code}"));
        let name = error_code(said).map_or_else(String::new, |name| format!(" ({name})"));
        (FaultKind::Malformed, format!("{what} {how}{name}; called by hand with --debug, it tells why"))
    };
    Fault::new(kind, message)
}

/// Azure's error code: `ERROR: (BadRequest) …` or `Code: BadRequest`.
fn error_code(said: &str) -> Option<&str> {
    let bracketed = said.split_once("ERROR: (").and_then(|(_, rest)| rest.split_once(')')).map(|(code, _)| code);
    let named = || said.lines().find_map(|line| line.trim().strip_prefix("Code: "));
    let plain = |code: &&str| !code.is_empty() && code.len() <= 60 && code.chars().all(|c| c.is_ascii_alphanumeric());
    bracketed.or_else(named).filter(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of azure-cli (`src/azure-cli-core/azure/cli/core/_profile.py`, `parser.py`, `auth/util.py`) and of Azure's
    /// documented error codes.
    #[test]
    fn each_complaint_becomes_one_line_with_its_mending() {
        for (said, kind, part) in [
            ("ERROR: Please run 'az login' to setup account.", FaultKind::Unauthenticated, "az login"),
            (
                "ERROR: AADSTS700082: The refresh token has expired due to inactivity. The token was issued on 2026-01-01 and was inactive for 90.00:00:00.\nInteractive authentication is needed. Please run:\naz logout\naz login",
                FaultKind::Unauthenticated,
                "AADSTS700082",
            ),
            (
                "ERROR: (SubscriptionNotFound) The subscription '0' could not be found.\nCode: SubscriptionNotFound",
                FaultKind::Unreachable,
                "--subscription",
            ),
            (
                "ERROR: The subscription of '0' doesn't exist in cloud 'AzureCloud'.",
                FaultKind::Unreachable,
                "az account list",
            ),
            (
                "ERROR: (AuthorizationFailed) The client 'me@example.com' with object id '1' does not have authorization to perform action 'Microsoft.ContainerService/managedClusters/read' over scope '/subscriptions/0' or the scope is invalid.",
                FaultKind::Forbidden,
                "Microsoft.ContainerService/managedClusters/read",
            ),
            (
                "ERROR: (ResourceNotFound) The Resource 'Microsoft.ContainerService/managedClusters/c' under resource group 'g' was not found.",
                FaultKind::Unreachable,
                "az aks list",
            ),
            ("ERROR: 'mesh' is misspelled or not recognized by the system.", FaultKind::Malformed, "az upgrade"),
            ("ERROR: 'NoneType' object has no attribute 'istio'", FaultKind::Malformed, "az upgrade"),
            (
                "ERROR: HTTPSConnectionPool(host='management.azure.com', port=443): Max retries exceeded with url: /x (Caused by NameResolutionError)",
                FaultKind::Unreachable,
                "management.azure.com",
            ),
            ("ERROR: (BadRequest) something new", FaultKind::Malformed, "(BadRequest)"),
            ("", FaultKind::Malformed, "exit code 1"),
        ] {
            let fault = classify("az aks show", said, Some(1));
            assert_eq!(fault.kind, kind, "{said}");
            assert!(fault.message.contains(part), "{said}: {}", fault.message);
            assert!(!fault.message.contains("example.com") && !fault.message.contains('\n'), "{}", fault.message);
        }
        assert!(is_open_upgrade(&classify("x", "ERROR: Mesh upgrade is in progress. Cannot retrieve", Some(1))));
    }
}
