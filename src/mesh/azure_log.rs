//! Reading what `az … --debug` wrote, or the text of an error: what is understood, and what a support ticket needs.
//!
//! Line by line, so that a log of any length costs little. Nothing of the log is passed on but Azure's error codes and
//! messages without what could be a token, and the numbers by which Azure finds a request again.

use super::azure_errors::{self, Known};

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Messages that are understood, each once, in their order.
    pub known: Vec<Understood>,
    /// Errors of Azure that are not.
    pub unknown: Vec<Unknown>,
    /// Requests that were refused or broke; the last one where none was.
    pub exchanges: Vec<Exchange>,
    /// How many lines there were.
    pub lines: usize,
    /// Whether any of them looks like one of `az`, whatever it says.
    pub is_of_az: bool,
}

/// A message that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    /// The entry of the catalogue.
    pub known: &'static Known,
    /// The line where it stood first.
    pub line: usize,
}

/// An error that is not in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Azure's code.
    pub code: String,
    /// Its message, shortened, without what could be a token.
    pub message: String,
    /// The line where it stood first.
    pub line: usize,
}

/// A request and how Azure answered it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Method and the end of the path, such as `PUT managedClusters/c1`.
    pub request: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// The time of the answer as its header `Date` has it.
    pub date: Option<String>,
    /// By which all requests of one operation are found.
    pub correlation_id: Option<String>,
    /// By which this request is found.
    pub request_id: Option<String>,
    /// By which `az` names it.
    pub client_request_id: Option<String>,
    /// Of an operation that goes on after the answer.
    pub operation_id: Option<String>,
}

impl Exchange {
    fn is_told(&self) -> bool {
        self.status.is_some() || self.correlation_id.is_some() || self.operation_id.is_some()
    }

    fn has_failed(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
    }
}

/// Most errors and requests that are kept: whoever asks wants the first cause, and a log may go on for days.
const KEPT: usize = 20;
/// What is looked at of one line: a body on one line can be long, and its error stands in front.
const LINE_CAP: usize = 64 << 10;
/// What is shown of a message.
const MESSAGE_CAP: usize = 300;

/// Takes a log line by line.
#[derive(Debug, Default)]
pub struct Reader {
    decoded: Decoded,
    current: Exchange,
}

impl Reader {
    /// Takes the next line.
    pub fn push(&mut self, line: &str) {
        self.decoded.lines += 1;
        let line = line.get(..LINE_CAP).unwrap_or(line);
        self.decoded.is_of_az = self.decoded.is_of_az || is_of_az(line);
        self.exchange(line);
        // What was sent and how the log calls itself holds words of errors too; errors stand in answers.
        if line.contains("Request URL") || line.contains("Command arguments") {
            return;
        }
        if let Some(known) = azure_errors::known(line) {
            self.understood(known);
        } else if let Some((code, message)) = error(line) {
            self.not_understood(code, message);
        }
    }

    fn understood(&mut self, known: &'static Known) {
        let line = self.decoded.lines;
        let found = &mut self.decoded.known;
        if found.len() < KEPT && !found.iter().any(|one| one.known.name == known.name) {
            found.push(Understood { known, line });
        }
    }

    fn not_understood(&mut self, code: &str, message: &str) {
        let line = self.decoded.lines;
        let message = without_secrets(message);
        let found = &mut self.decoded.unknown;
        if found.len() < KEPT && !found.iter().any(|one| one.code == code && one.message == message) {
            found.push(Unknown { code: code.to_owned(), message, line });
        }
    }

    fn exchange(&mut self, line: &str) {
        if let Some(url) = after(line, "Request URL: ") {
            self.close();
            self.current.request = path_of(url);
        }
        if let Some(method) = after(line, "Request method: ") {
            let method: String = method.chars().take_while(char::is_ascii_uppercase).collect();
            self.current.request = format!("{method} {}", self.current.request);
        }
        if let Some(status) = after(line, "Response status: ") {
            self.current.status = status.get(..3).and_then(|digits| digits.parse().ok());
        }
        if let Some(date) = header(line, "date") {
            let plain = |c: char| c.is_ascii_alphanumeric() || " ,:".contains(c);
            self.current.date = (date.len() <= 40 && date.chars().all(plain)).then(|| date.to_owned());
        }
        for (names, place) in [
            (&["x-ms-correlation-request-id", "correlation id", "correlationid"][..], &mut self.current.correlation_id),
            (&["x-ms-request-id", "request id", "requestid"], &mut self.current.request_id),
            (&["x-ms-client-request-id"], &mut self.current.client_request_id),
            (&["azure-asyncoperation", "operation id", "operationid"], &mut self.current.operation_id),
        ] {
            if let Some(id) = names.iter().find_map(|name| identifier(line, name)) {
                *place = Some(id.to_owned());
            }
        }
    }

    fn close(&mut self) {
        let done = std::mem::take(&mut self.current);
        if !done.is_told() {
            return;
        }
        let kept = &mut self.decoded.exchanges;
        // One that succeeded is only kept until another one comes.
        kept.retain(Exchange::has_failed);
        if kept.len() < KEPT {
            kept.push(done);
        }
    }

    /// Ends the log.
    #[must_use]
    pub fn finish(mut self) -> Decoded {
        self.close();
        let decoded = &mut self.decoded;
        let told = !(decoded.known.is_empty() && decoded.unknown.is_empty() && decoded.exchanges.is_empty());
        decoded.is_of_az = decoded.is_of_az || told;
        if self.decoded.exchanges.iter().any(Exchange::has_failed) {
            self.decoded.exchanges.retain(Exchange::has_failed);
        }
        self.decoded
    }
}

/// Whether a line has the form of what `az` writes: a level in front, or the name of one of its loggers.
fn is_of_az(line: &str) -> bool {
    const LEVELS: [&str; 5] = ["DEBUG: ", "INFO: ", "WARNING: ", "ERROR: ", "CRITICAL: "];
    const LOGGERS: [&str; 8] =
        ["cli.", "az_command_data_logger", "azure.", "msal.", "msrest.", "urllib3.", "knack.", "azcli."];
    let line = line.trim_start();
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    begins(&LEVELS) || begins(&LOGGERS) || line.starts_with("Traceback (most recent call last)")
}

/// What follows a word, without an opening quote.
fn after<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    line.split_once(word).map(|(_, rest)| rest.trim_start_matches(['\'', '"']))
}

/// The value of a header as `az` prints them: `'Name': 'value'`.
fn header<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (key, value) = line.rsplit_once("': '").or_else(|| line.rsplit_once("\": \""))?;
    let key = key.rsplit(['\'', '"']).next()?;
    key.eq_ignore_ascii_case(name).then(|| value.trim_end_matches(['\'', '"', ',', ' ']))
}

/// The identifier after a name, wherever in the line that stands. Part of an address it is its last segment.
fn identifier<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let lower = line.to_ascii_lowercase();
    let start = lower.match_indices(name).map(|(at, _)| at).find(|at| {
        // `request id` is not the end of `correlation request id`, nor `x-ms-request-id` of another header.
        !lower[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
    })?;
    let rest = line.get(start + name.len()..)?;
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '-';
    let words = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    // Words between the name and the number: `: `, an address with a subscription's number in front.
    let ids =
        words.take(40).filter(|word| word.len() == 36 && word.chars().all(is_part) && word.matches('-').count() == 4);
    let url = rest.contains("https://");
    if url { ids.last() } else { ids.into_iter().next() }
}

/// The end of the path of a request: type and name, without subscription and resource group.
fn path_of(url: &str) -> String {
    let path = url.split(['?', '\'', '"', ' ']).next().unwrap_or_default();
    let path = path.rsplit_once("/providers/").map_or("", |(_, rest)| rest);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let end: Vec<&str> = path.split('/').skip(1).filter(|part| !part.is_empty()).collect();
    let end = end.join("/");
    if end.len() <= 200 && end.chars().all(plain) { end } else { String::new() }
}

/// An error of Azure in a line: `ERROR: (Code) message`, `(Code) message`, `"code": "Code", "message": "message"`.
fn error(line: &str) -> Option<(&str, &str)> {
    let is_code = |code: &str| {
        (4..=60).contains(&code.len())
            && code.starts_with(|c: char| c.is_ascii_uppercase())
            && code.chars().all(|c| c.is_ascii_alphanumeric())
    };
    if let Some((before, rest)) = line.split_once('(')
        && (before.trim().is_empty() || before.trim_end().ends_with("ERROR:") || before.trim_end().ends_with("Error:"))
        && let Some((code, message)) = rest.split_once(')')
        && is_code(code)
    {
        return Some((code, message.trim()));
    }
    let value = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        rest.split('"').next()
    };
    let code = value("\"code\"").filter(|code| is_code(code))?;
    // The message of a code may stand on the next line, where the catalogue finds it.
    Some((code, value("\"message\"").filter(|message| !message.is_empty())?))
}

/// A message without words that could be tokens or keys, and not longer than a person reads.
fn without_secrets(message: &str) -> String {
    const LEFT_OUT: &str = "(left out)";
    // What a log of a proxy must not show, a log of az must not either: queries of addresses, users in them, headers.
    let message = super::log::secrets::without(message);
    let mut out = String::new();
    let mut hidden = false;
    for word in message.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        let (mut rest, mut is_first) = (word, true);
        // Values stand in lists, too: of connection strings, of queries, of JSON.
        while !rest.is_empty() {
            let end = rest.find(|c: char| "&;,".contains(c)).map_or(rest.len(), |at| at + 1);
            let (part, further) = rest.split_at(end);
            rest = further;
            let bare = part.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_secret = std::mem::take(&mut hidden) && is_first
                || bare.starts_with("eyJ")
                || bare.len() >= 40 && !bare.contains('/') && bare.bytes().any(|b| b.is_ascii_digit());
            is_first = false;
            let named = part.find(['=', ':']).filter(|at| is_secret_name(&part[..*at]));
            hidden = bare.eq_ignore_ascii_case("bearer")
                || named.is_some_and(|at| part[at + 1..].trim_matches(|c: char| "\"'\\".contains(c)).is_empty());
            match named {
                _ if is_secret => out.push_str(LEFT_OUT),
                Some(at) if !hidden => out.push_str(&format!("{}{LEFT_OUT}", &part[..=at])),
                _ => out.push_str(part),
            }
        }
    }
    match out.char_indices().nth(MESSAGE_CAP) {
        Some((end, _)) => format!("{}…", &out[..end]),
        None => out,
    }
}

/// Whether what follows this name is a secret.
fn is_secret_name(name: &str) -> bool {
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
    ["authorization", "token", "password", "passwd", "pwd", "secret", "sig", "signature", "key", "credential"]
        .iter()
        .any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Decoded {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.push(line));
        reader.finish()
    }

    /// The form of `az … --debug` (`azure/core/pipeline/policies/_universal.py` in Azure/azure-sdk-for-python); the numbers are made up.
    const DEBUG: &str = r#"cli.azure.cli.core: Command arguments: ['aks', 'mesh', 'enable', '-g', 'rg1', '-n', 'c1', '--debug']
cli.azure.cli.core.sdk.policies: Request URL: 'https://management.azure.com/subscriptions/aaaaaaaa-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/c1?api-version=2025-10-01'
cli.azure.cli.core.sdk.policies: Request method: 'GET'
cli.azure.cli.core.sdk.policies:     'x-ms-client-request-id': 'bbbbbbbb-0000-0000-0000-000000000001'
cli.azure.cli.core.sdk.policies:     'Authorization': 'Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.secret.secret'
cli.azure.cli.core.sdk.policies: Response status: 200
cli.azure.cli.core.sdk.policies:     'x-ms-correlation-request-id': 'bbbbbbbb-0000-0000-0000-000000000002'
cli.azure.cli.core.sdk.policies: Request URL: 'https://management.azure.com/subscriptions/aaaaaaaa-0000-0000-0000-000000000000/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/c1?api-version=2025-10-01'
cli.azure.cli.core.sdk.policies: Request method: 'PUT'
cli.azure.cli.core.sdk.policies:     'x-ms-client-request-id': 'cccccccc-0000-0000-0000-000000000001'
cli.azure.cli.core.sdk.policies: Response status: 400
cli.azure.cli.core.sdk.policies:     'x-ms-operation-identifier': 'tenantId=dddddddd-0000-0000-0000-000000000000'
cli.azure.cli.core.sdk.policies:     'x-ms-correlation-request-id': 'cccccccc-0000-0000-0000-000000000002'
cli.azure.cli.core.sdk.policies:     'x-ms-request-id': 'cccccccc-0000-0000-0000-000000000003'
cli.azure.cli.core.sdk.policies:     'Date': 'Wed, 15 Jul 2026 11:59:07 GMT'
cli.azure.cli.core.sdk.policies: Response content:
cli.azure.cli.core.sdk.policies: { "code": "BadRequest" }
ERROR: (BadRequest) Requested change in revisions is not allowed. Reason: Revision asm-1-17 is not supported by the service mesh add-on.
"#;

    #[test]
    fn a_debug_log_gives_the_message_and_the_numbers_of_the_request_that_failed() {
        let decoded = decode(DEBUG);
        let names: Vec<_> = decoded.known.iter().map(|one| (one.known.name, one.line)).collect();
        assert_eq!(names, [("revision-change", 18)]);
        assert_eq!(decoded.unknown, []);
        assert_eq!(
            decoded.exchanges,
            [Exchange {
                request: "PUT managedClusters/c1".to_owned(),
                status: Some(400),
                date: Some("Wed, 15 Jul 2026 11:59:07 GMT".to_owned()),
                correlation_id: Some("cccccccc-0000-0000-0000-000000000002".to_owned()),
                request_id: Some("cccccccc-0000-0000-0000-000000000003".to_owned()),
                client_request_id: Some("cccccccc-0000-0000-0000-000000000001".to_owned()),
                operation_id: None,
            }]
        );
    }

    #[test]
    fn nothing_that_could_be_a_token_comes_out() {
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsIng1dCI6Ik1uQ19WWmNBVGZNNXBP";
        let log = format!(
            "{DEBUG}\nERROR: (SomethingNew) called with Bearer {token} and access_token={token}, token: abc. It broke.\n{{\"code\": \"OtherThing\", \"message\": \"key {token}\"}}"
        );
        let decoded = decode(&log);
        let shown = format!("{decoded:?}");
        assert!(!shown.contains("eyJ") && !shown.contains("abc"), "{shown}");
        let codes: Vec<_> = decoded.unknown.iter().map(|one| one.code.as_str()).collect();
        assert_eq!(codes, ["SomethingNew", "OtherThing"]);
        assert!(decoded.unknown[0].message.ends_with("It broke."), "{shown}");
    }

    #[test]
    fn nothing_that_is_called_a_secret_comes_out() {
        for (text, kept) in [
            ("see https://acc.blob.core.windows.net/x?sv=2024&sig=S3CR3T now", "now"),
            ("with AccountName=a;AccountKey=S3CR3T/KEY+x==;EndpointSuffix=core", "EndpointSuffix"),
            ("clientSecret: 'S3CR3T' is wrong", "is wrong"),
            ("{\"adminPassword\":\"S3CR3T\",\"location\":\"westeurope\"}", "westeurope"),
            ("Authorization: S3CR3T", "Authorization"),
        ] {
            let shown = without_secrets(text);
            assert!(!shown.contains("S3CR3T") && shown.contains(kept), "{text}: {shown}");
        }
        assert_eq!(
            without_secrets("Revision: asm-1-28 of region westeurope, plan x"),
            "Revision: asm-1-28 of region westeurope, plan x"
        );
    }

    #[test]
    fn an_error_text_alone_is_enough() {
        let decoded = decode(
            "(AKSOperationPreempted) The operation was preempted.\nCode: AKSOperationPreempted\nCorrelation ID: eeeeeeee-0000-0000-0000-000000000001",
        );
        assert_eq!(decoded.known[0].known.name, "preempted");
        assert_eq!(decoded.exchanges[0].correlation_id.as_deref(), Some("eeeeeeee-0000-0000-0000-000000000001"));
        assert_eq!(decode(""), Decoded::default());
    }

    #[test]
    fn a_log_of_something_else_is_not_taken_for_one_of_az() {
        for text in [
            "cli.azure.cli.core: Command arguments: ['version']",
            "DEBUG: cli.knack.cli: Event: Cli.PreExecute []",
            "ERROR: argument --name: expected one argument",
            "(AKSOperationPreempted) The operation was preempted.",
        ] {
            assert!(decode(text).is_of_az, "{text}");
        }
        for text in ["", "2026-07-15T11:58:02.1Z\terror\tads\tx", "hello\nworld", "error: the server is gone"] {
            assert!(!decode(text).is_of_az, "{text}");
        }
    }

    #[test]
    fn an_operation_that_goes_on_is_named_by_the_end_of_its_address() {
        let line = "policies:     'azure-asyncoperation': 'https://management.azure.com/subscriptions/aaaaaaaa-0000-0000-0000-000000000000/providers/Microsoft.ContainerService/locations/westeurope/operations/ffffffff-0000-0000-0000-000000000009?api-version=2025-10-01&t=1'";
        let decoded = decode(&format!("Request URL: 'https://x/providers/A/b/c'\nResponse status: 201\n{line}"));
        assert_eq!(decoded.exchanges[0].operation_id.as_deref(), Some("ffffffff-0000-0000-0000-000000000009"));
    }
}
