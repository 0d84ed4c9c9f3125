//! Collectors turn the bytes of objects into a section of the snapshot.

use serde::Deserialize;

use crate::model::Meta;
use crate::snapshot::{Collected, Fault, FaultKind, Section, Snapshot, StateKind, Undecodable};

/// Takes objects one by one and ends as a section.
pub trait Collector: Send {
    /// Decodes one object. One that cannot be decoded is counted, and never costs the list.
    fn item(&mut self, bytes: &[u8]);
    /// Forgets everything taken since the mark: a list began anew.
    fn rewind(&mut self, mark: usize);
    /// A position for [`Collector::rewind`].
    fn mark(&self) -> usize;
    /// How many objects were decoded.
    fn len(&self) -> usize;
    /// Whether nothing was decoded.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Puts the section into the snapshot.
    fn finish(self: Box<Self>, snapshot: &mut Snapshot, end: End);
}

/// How a source ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Which kind of section it becomes.
    pub kind: StateKind,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// Objects that an earlier reader could not decode (from a bundle's manifest).
    pub undecodable: Vec<Undecodable>,
    /// Why only one namespace was read.
    pub fallback: Option<Fault>,
}

type Place<T> = fn(&mut Snapshot) -> &mut Section<T>;
type Decode<T> = fn(&[u8]) -> Result<T, serde_json::Error>;
type Key<T> = fn(&T) -> &Meta;

struct Typed<T> {
    items: Vec<T>,
    undecodable: Vec<Undecodable>,
    decode: Decode<T>,
    place: Place<T>,
    key: Option<Key<T>>,
}

/// A collector for one type of object.
pub fn new_collector<T: Send + 'static>(decode: Decode<T>, place: Place<T>, key: Option<Key<T>>) -> Box<dyn Collector> {
    Box::new(Typed { items: Vec::new(), undecodable: Vec::new(), decode, place, key })
}

impl<T: Send> Collector for Typed<T> {
    fn item(&mut self, bytes: &[u8]) {
        // A list of values would be taken for an object whose fields stand in order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            let message = "not a JSON object".to_owned();
            self.undecodable.push(Undecodable { object: identify(bytes), message });
            return;
        }
        match (self.decode)(bytes) {
            Ok(item) => self.items.push(item),
            Err(error) => self.undecodable.push(Undecodable { object: identify(bytes), message: category(&error) }),
        }
    }

    fn rewind(&mut self, mark: usize) {
        self.items.truncate(mark);
    }

    fn mark(&self) -> usize {
        self.items.len()
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn finish(self: Box<Self>, snapshot: &mut Snapshot, end: End) {
        let Self { mut items, mut undecodable, place, key, .. } = *self;
        // Several requests of one source may overlap, and a server may answer in any order: the report must not
        // depend on that.
        if let Some(key) = key {
            items.sort_by(|a, b| {
                let (a, b) = (key(a), key(b));
                (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
            });
            items.dedup_by(|a, b| {
                let (a, b) = (key(a), key(b));
                !a.name.is_empty() && (&a.namespace, &a.name) == (&b.namespace, &b.name)
            });
        }
        undecodable.extend(end.undecodable);
        undecodable.sort_by(|a, b| a.object.cmp(&b.object));
        undecodable.dedup();
        *place(snapshot) = match end.kind {
            StateKind::NotRequested => Section::NotRequested,
            StateKind::NotServed => Section::NotServed,
            StateKind::Failed => Section::Failed(end.faults),
            StateKind::Collected => {
                Section::Collected(Collected { items, undecodable, faults: end.faults, fallback: end.fallback })
            }
        };
    }
}

/// Namespace and name of an object that is otherwise unreadable.
fn identify(bytes: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Id {
        metadata: Name,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Name {
        name: serde_json::Value,
        namespace: serde_json::Value,
    }
    let text = |value: &serde_json::Value| value.as_str().map(crate::model::quoted::printable).unwrap_or_default();
    match serde_json::from_slice::<Id>(bytes) {
        Ok(id) => {
            let (namespace, name) = (text(&id.metadata.namespace), text(&id.metadata.name));
            match (namespace.is_empty(), name.is_empty()) {
                (_, true) => "(without a name)".to_owned(),
                (true, false) => name,
                (false, false) => format!("{namespace}/{name}"),
            }
        }
        Err(error) if error.is_data() => "(not an object)".to_owned(),
        Err(_) => "(not JSON)".to_owned(),
    }
}

/// The kind of decoding error, without any of the object's content.
fn category(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => format!("unexpected type at column {}", error.column()),
        serde_json::error::Category::Eof => "ends too early".to_owned(),
        _ => format!("not JSON at column {}", error.column()),
    }
}

/// The fault that stands for undecodable objects in a list of gaps.
#[must_use]
pub fn undecodable_fault(undecodable: &[Undecodable]) -> Fault {
    let first = undecodable.first().map(|object| object.object.clone()).unwrap_or_default();
    Fault::new(
        FaultKind::Malformed,
        match undecodable.len() {
            1 => format!("object {first} could not be understood"),
            n => format!("{n} objects could not be understood, {first} among them"),
        },
    )
}
