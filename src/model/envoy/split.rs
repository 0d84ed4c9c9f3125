//! Takes an answer of Envoy's admin interface apart while its bytes arrive.
//!
//! A `config_dump` of a large mesh is a hundred megabytes, but each cluster, listener or route in it is small. Only the
//! lists that are of use are entered; each of their elements is handed over alone, and everything else is passed over.
//! The structure around the elements is checked, the inside of an element is its decoder's work.

/// Largest element handed over. A route configuration holds every host of one port and is the largest there is.
const ELEMENT_CAP: usize = 64 << 20;
/// Longest key that is compared; longer ones are none of ours.
const KEY_CAP: usize = 64;

/// A list, or a single object, of an admin answer
/// (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto> and the pages beside it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The bootstrap configuration.
    Bootstrap,
    /// Clusters of the bootstrap.
    StaticClusters,
    /// Clusters in use.
    ActiveClusters,
    /// Clusters that wait for something.
    WarmingClusters,
    /// Listeners of the bootstrap.
    StaticListeners,
    /// Listeners by name, each with its active, warming and draining state.
    DynamicListeners,
    /// Routes that stand inside listeners.
    StaticRoutes,
    /// Routes that came by name.
    DynamicRoutes,
    /// Endpoints of the bootstrap.
    StaticEndpoints,
    /// Endpoints as they were configured.
    DynamicEndpoints,
    /// Secrets of the bootstrap.
    StaticSecrets,
    /// Secrets in use.
    ActiveSecrets,
    /// Secrets that have not come.
    WarmingSecrets,
    /// Extensions that came by name.
    Extensions,
    /// Clusters with the health of their endpoints (`/clusters?format=json`).
    Hosts,
    /// What the start of the proxy waits for (`/init_dump`).
    Unready,
}

impl Part {
    /// Its name in the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(part, ..)| *part == self).map_or("", |(_, name, _)| name)
    }

    /// The part of a name that [`Part::name`] gives.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known, _)| *known == name).map(|(part, ..)| *part)
    }

    /// Whether it stands at the top of its answer, and not inside the configurations of a `config_dump`.
    #[must_use]
    pub fn is_at_top(self) -> bool {
        matches!(self, Self::Hosts | Self::Unready)
    }
}

/// Parts by their two spellings: Envoy prints field names, istiod's own `config_dump` JSON names.
const NAMES: &[(Part, &str, &str)] = &[
    (Part::Bootstrap, "bootstrap", "bootstrap"),
    (Part::StaticClusters, "static_clusters", "staticClusters"),
    (Part::ActiveClusters, "dynamic_active_clusters", "dynamicActiveClusters"),
    (Part::WarmingClusters, "dynamic_warming_clusters", "dynamicWarmingClusters"),
    (Part::StaticListeners, "static_listeners", "staticListeners"),
    (Part::DynamicListeners, "dynamic_listeners", "dynamicListeners"),
    (Part::StaticRoutes, "static_route_configs", "staticRouteConfigs"),
    (Part::DynamicRoutes, "dynamic_route_configs", "dynamicRouteConfigs"),
    (Part::StaticEndpoints, "static_endpoint_configs", "staticEndpointConfigs"),
    (Part::DynamicEndpoints, "dynamic_endpoint_configs", "dynamicEndpointConfigs"),
    (Part::StaticSecrets, "static_secrets", "staticSecrets"),
    (Part::ActiveSecrets, "dynamic_active_secrets", "dynamicActiveSecrets"),
    (Part::WarmingSecrets, "dynamic_warming_secrets", "dynamicWarmingSecrets"),
    (Part::Extensions, "ecds_filters", "ecdsFilters"),
    (Part::Hosts, "cluster_statuses", "clusterStatuses"),
    (Part::Unready, "unready_targets_dumps", "unreadyTargetsDumps"),
];

fn part(key: &[u8], top: bool) -> Option<Part> {
    NAMES
        .iter()
        .find(|(_, snake, camel)| snake.as_bytes() == key || camel.as_bytes() == key)
        .map(|(part, ..)| *part)
        .filter(|part| part.is_at_top() == top)
}

/// Why the bytes are not an admin answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The first byte does not open a JSON object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Structure characters in the wrong place, at this offset.
    #[error("it is not valid JSON at byte {0}")]
    Garbage(usize),
    /// The bytes ended before the object did.
    #[error("it stops in the middle")]
    Truncated,
}

/// What the splitter hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// A list of the answer was reached, whether or not something is in it.
    Opened(Part),
    /// An element of it.
    Element(Part, &'b [u8]),
    /// An element that is larger than anything Envoy sends.
    TooLarge(Part),
    /// The list of configurations of a `config_dump` was reached.
    Dump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    FirstKey,
    NextKey,
    Key,
    Colon,
    Value,
    AfterMember,
    FirstItem,
    NextItem,
    AfterItem,
    /// Inside a value that is handed over or passed over.
    Inside,
    Done,
}

/// A container that was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Top,
    /// The list `configs`.
    Configs,
    /// One of them.
    Config,
    List(Part),
}

impl Level {
    fn is_list(self) -> bool {
        matches!(self, Self::Configs | Self::List(_))
    }
}

/// The state machine. Feed it with [`Splitter::push`], then ask [`Splitter::finish`].
#[derive(Debug)]
pub struct Splitter {
    state: State,
    levels: Vec<Level>,
    /// The part that the current value is handed over as.
    part: Option<Part>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The current value is a bare word (number, true, null), which ends where something else begins.
    bare: bool,
    key: Vec<u8>,
    /// Start of the current value, from earlier chunks.
    held: Vec<u8>,
    too_large: bool,
    offset: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// A splitter at the beginning of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Start,
            levels: Vec::new(),
            part: None,
            depth: 0,
            in_string: false,
            escaped: false,
            bare: false,
            key: Vec::new(),
            held: Vec::new(),
            too_large: false,
            offset: 0,
        }
    }

    /// Looks at the next bytes and hands over every piece that ends in them.
    ///
    /// # Errors
    /// The structure is broken; pieces handed over before stay valid.
    pub fn push(&mut self, chunk: &[u8], mut on_piece: impl FnMut(Piece<'_>)) -> Result<(), SplitError> {
        let mut at = 0;
        // Where the current value starts in this chunk; 0 when it started in an earlier one.
        let mut start = 0;
        while at < chunk.len() {
            let byte = chunk[at];
            match self.state {
                State::Inside => {
                    let Some(used) = self.scan(&chunk[at..]) else { break };
                    at += used;
                    self.end_value(&chunk[start..at], &mut on_piece);
                    continue;
                }
                State::Key => {
                    at += self.read_key(&chunk[at..]);
                    continue;
                }
                _ if byte.is_ascii_whitespace() => {}
                State::Start if byte == b'{' => self.enter(Level::Top),
                State::Start => return Err(SplitError::NotAnObject),
                State::FirstKey | State::NextKey if byte == b'"' => {
                    self.key.clear();
                    self.escaped = false;
                    self.state = State::Key;
                }
                State::Colon if byte == b':' => self.state = State::Value,
                State::FirstKey | State::AfterMember if byte == b'}' => self.leave(),
                State::FirstItem | State::AfterItem if byte == b']' => self.leave(),
                State::AfterMember if byte == b',' => self.state = State::NextKey,
                State::AfterItem if byte == b',' => self.state = State::NextItem,
                State::Value | State::FirstItem | State::NextItem => match self.entered(byte) {
                    Some(level) => {
                        match level {
                            Level::Configs => on_piece(Piece::Dump),
                            Level::List(part) => on_piece(Piece::Opened(part)),
                            Level::Top | Level::Config => {}
                        }
                        self.enter(level);
                    }
                    None => {
                        start = at;
                        self.begin_value(byte, at)?;
                    }
                },
                _ => return Err(SplitError::Garbage(self.offset + at)),
            }
            at += 1;
        }
        if self.state == State::Inside {
            self.hold(&chunk[start..]);
        }
        self.offset += chunk.len();
        Ok(())
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// They ended too early.
    pub fn finish(&self) -> Result<(), SplitError> {
        match self.state {
            State::Done => Ok(()),
            State::Start => Err(SplitError::NotAnObject),
            _ => Err(SplitError::Truncated),
        }
    }

    /// The container that a value is entered as; none for values that are handed over or passed over.
    fn entered(&self, byte: u8) -> Option<Level> {
        match (self.levels.last()?, byte) {
            (Level::Top, b'[') if self.key == b"configs" => Some(Level::Configs),
            (Level::Configs, b'{') => Some(Level::Config),
            (level @ (Level::Top | Level::Config), b'[') => part(&self.key, *level == Level::Top).map(Level::List),
            _ => None,
        }
    }

    fn enter(&mut self, level: Level) {
        self.levels.push(level);
        self.state = if level.is_list() { State::FirstItem } else { State::FirstKey };
    }

    fn leave(&mut self) {
        self.levels.pop();
        self.after_value();
    }

    fn after_value(&mut self) {
        self.state = match self.levels.last() {
            None => State::Done,
            Some(level) if level.is_list() => State::AfterItem,
            Some(_) => State::AfterMember,
        };
    }

    /// Reads on in a key; says how many bytes were used.
    fn read_key(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.state = State::Colon;
                    return at + 1;
                }
                _ => {}
            }
            if self.key.len() <= KEY_CAP {
                self.key.push(*byte);
            }
        }
        bytes.len()
    }

    fn begin_value(&mut self, byte: u8, at: usize) -> Result<(), SplitError> {
        self.part = match self.levels.last() {
            Some(Level::List(part)) => Some(*part),
            Some(Level::Config) => part(&self.key, false).filter(|part| *part == Part::Bootstrap),
            _ => None,
        };
        self.held.clear();
        (self.too_large, self.escaped, self.in_string, self.bare, self.depth) = (false, false, false, false, 0);
        match byte {
            b'{' | b'[' => self.depth = 1,
            b'"' => self.in_string = true,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.bare = true,
            _ => return Err(SplitError::Garbage(self.offset + at)),
        }
        self.state = State::Inside;
        Ok(())
    }

    /// Runs through the current value; says after how many bytes it ended, or none if it goes on.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.bare {
            return bytes.iter().position(|b| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace());
        }
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                at += bytes[at..].iter().position(|b| matches!(b, b'"' | b'\\'))?;
                if bytes[at] == b'\\' {
                    self.escaped = true;
                } else {
                    self.in_string = false;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
            } else {
                match bytes[at] {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        None
    }

    fn end_value(&mut self, tail: &[u8], on_piece: &mut impl FnMut(Piece<'_>)) {
        if let Some(part) = self.part.take() {
            if self.held.is_empty() && !self.too_large && tail.len() <= ELEMENT_CAP {
                on_piece(Piece::Element(part, tail));
            } else {
                self.part = Some(part);
                self.hold(tail);
                self.part = None;
                on_piece(if self.too_large { Piece::TooLarge(part) } else { Piece::Element(part, &self.held) });
            }
        }
        self.held.clear();
        // One exceptionally large element must not keep its buffer for the rest of the answer.
        self.held.shrink_to(1 << 20);
        self.after_value();
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.part.is_none() {
            return;
        }
        if self.too_large || self.held.len() + bytes.len() > ELEMENT_CAP {
            self.too_large = true;
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#" {"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "a"}}},
        {"@type": "x", "static_clusters": [{"cluster": {"name": "a\"]}"}}, 7], "dynamicActiveClusters": [ ],
         "unknown": {"dynamic_listeners": [1, 2]}},
        null, [{"dynamic_listeners": [3]}],
        {"dynamic_listeners": [{"name": "l"}], "dynamic_route_configs": "none"}],
        "cluster_statuses": [{"name": "c"}], "dynamic_active_secrets": [{"name": "not here"}]} "#;

    fn pieces(text: &str, chunk: usize) -> (Vec<String>, Result<(), SplitError>) {
        let mut splitter = Splitter::new();
        let mut found = Vec::new();
        for bytes in text.as_bytes().chunks(chunk) {
            let pushed = splitter.push(bytes, |piece| {
                found.push(match piece {
                    Piece::Dump => "dump".to_owned(),
                    Piece::Opened(part) => format!("{}:", part.name()),
                    Piece::Element(part, bytes) => format!("{} {}", part.name(), String::from_utf8_lossy(bytes)),
                    Piece::TooLarge(part) => format!("{} too large", part.name()),
                });
            });
            if let Err(error) = pushed {
                return (found, Err(error));
            }
        }
        (found, splitter.finish())
    }

    #[test]
    fn only_the_lists_of_the_admin_api_are_entered() {
        let (found, end) = pieces(DUMP, 1 << 20);
        assert_eq!(end, Ok(()));
        assert_eq!(
            found,
            [
                "dump",
                r#"bootstrap {"node": {"id": "a"}}"#,
                "static_clusters:",
                r#"static_clusters {"cluster": {"name": "a\"]}"}}"#,
                "static_clusters 7",
                "dynamic_active_clusters:",
                "dynamic_listeners:",
                r#"dynamic_listeners {"name": "l"}"#,
                "cluster_statuses:",
                r#"cluster_statuses {"name": "c"}"#,
            ]
        );
    }

    #[test]
    fn chunks_of_any_size_give_the_same_pieces() {
        let whole = pieces(DUMP, 1 << 20);
        for size in 1..40 {
            assert_eq!(pieces(DUMP, size), whole, "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_answer_is_said_with_its_place() {
        assert_eq!(pieces("Failed to convert", 5).1, Err(SplitError::NotAnObject));
        assert_eq!(pieces("", 5).1, Err(SplitError::NotAnObject));
        assert_eq!(pieces(r#"{"configs": [{"dynamic_listeners": [{"a""#, 5).1, Err(SplitError::Truncated));
        assert_eq!(pieces(r#"{"configs" 1}"#, 5).1, Err(SplitError::Garbage(11)));
        assert_eq!(pieces(r#"{"configs": [}"#, 5).1, Err(SplitError::Garbage(13)));
        assert_eq!(pieces("{} {}", 5).1, Err(SplitError::Garbage(3)));
    }

    #[test]
    fn elements_before_the_damage_are_handed_over() {
        let (found, end) = pieces(r#"{"cluster_statuses": [{"name": "a"}, {"name": "b"} oops"#, 3);
        assert_eq!(found.len(), 3);
        assert_eq!(end, Err(SplitError::Garbage(51)));
    }
}
