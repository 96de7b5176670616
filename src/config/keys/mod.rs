//! Every key of this version, with its default and one line, and those that come later.

mod later;
mod table;

use std::collections::BTreeMap;
use std::sync::OnceLock;

pub(crate) use later::LaterValue;
pub use table::KEYS;
pub(crate) use table::{FREE, ONLY_WITH, OPTIONAL, SECRETS, TESTED, UNLESS};

/// What holds where the file says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This value, as TOML.
    Value(&'static str),
    /// What this note says.
    Note(&'static str),
}

/// One key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path; `*` stands for a name, `[]` for an item of an array.
    pub path: &'static str,
    /// What holds without it.
    pub unset: Unset,
    /// What it is, in one line.
    pub doc: &'static str,
}

/// The keys as a tree, to walk beside a document.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Known keys below.
    pub(crate) children: BTreeMap<&'static str, Self>,
    /// What stands below any name.
    pub(crate) named: Option<Box<Self>>,
    /// What an item of the array is.
    pub(crate) items: Option<Box<Self>>,
    /// Present: not in this version, and this is what to do.
    pub(crate) later: Option<&'static str>,
    /// Values that are not in this version.
    pub(crate) later_values: Vec<&'static LaterValue>,
    /// Whether its strings are keys that nobody else may read.
    pub(crate) secret: bool,
}

impl Node {
    /// Keys of this version below, for a hint.
    pub(crate) fn known(&self) -> impl Iterator<Item = &'static str> {
        self.children.iter().filter(|(_, node)| node.later.is_none()).map(|(name, _)| *name)
    }

    fn at(&mut self, path: &'static str) -> &mut Self {
        let mut node = self;
        for segment in path.split('.') {
            let (name, item) = match segment.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (segment, false),
            };
            node = if name == "*" {
                node.named.get_or_insert_with(Box::default)
            } else {
                node.children.entry(name).or_default()
            };
            if item {
                node = node.items.get_or_insert_with(Box::default);
            }
        }
        node
    }
}

/// The root of the tree, built once.
pub(crate) fn tree() -> &'static Node {
    static TREE: OnceLock<Node> = OnceLock::new();
    TREE.get_or_init(|| {
        let mut root = Node::default();
        fill(&mut root);
        // The same objects again, in place of what stands below a name or in an array.
        let mut whole = Node::default();
        fill(&mut whole);
        let defaults = root.children.entry("defaults").or_default();
        for name in ["listeners", "routes", "pools"] {
            let object = whole.children.remove(name).and_then(|node| node.named.or(node.items));
            defaults.children.insert(name, object.map(|node| *node).unwrap_or_default());
        }
        root
    })
}

fn fill(root: &mut Node) {
    for key in KEYS {
        root.at(key.path);
    }
    for path in FREE {
        root.at(path).named = Some(Box::default());
    }
    let (tested, keys) = TESTED;
    for path in tested {
        let value = root.at(path).named.get_or_insert_with(Box::default);
        for key in keys {
            value.at(key);
        }
    }
    for path in SECRETS {
        root.at(path).secret = true;
    }
    for (path, hint) in later::KEYS {
        root.at(path).later = Some(hint);
    }
    for value in later::VALUES {
        root.at(value.path).later_values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_in_the_table_twice_and_none_is_both_known_and_later() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.extend(later::KEYS.iter().map(|(path, _)| *path));
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }

    #[test]
    fn defaults_know_the_keys_of_the_objects() {
        let pools = &tree().children["defaults"].children["pools"];
        assert!(pools.children["sticky"].children.contains_key("cookie"));
        let routes = &tree().children["defaults"].children["routes"];
        assert!(routes.children["rewrite"].later.is_some());
    }
}
