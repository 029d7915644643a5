//! Circles of calls and uses. The bounds in this file are today's figures: they may only be lowered.

use super::files::{Source, sources};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};

/// Methods of `Broker`, in all of its `impl` blocks.
const MOST_METHODS_OF_BROKER: usize = 197;

/// Layers with files or folders that use each other in a circle, and how many of them do. Other layers have none.
const MOST_MODULES_IN_CIRCLES: &[(&str, usize)] = &[("broker", 9), ("reactor", 3)];

/// Who uses whom.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The nodes that can be reached from themselves.
fn in_circles(graph: &Graph) -> Vec<&str> {
    let is_in_circle = |start: &&String| {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&String> = graph[*start].iter().collect();
        while let Some(node) = waiting.pop() {
            if reached.insert(node) {
                waiting.extend(graph.get(node).into_iter().flatten());
            }
        }
        reached.contains(start)
    };
    let nodes = graph.keys().filter(is_in_circle);
    nodes.map(String::as_str).collect()
}

/// The bodies of all `impl Broker` blocks of a file.
fn broker_blocks(code: &str) -> String {
    let block = Regex::new(r"(?ms)^impl Broker \{\n(.*?)^\}").expect("a pattern");
    let blocks: Vec<&str> = block
        .captures_iter(code)
        .map(|found| found.get(1).expect("the body").as_str())
        .collect();
    blocks.join("\n")
}

/// The file of each method of `Broker`, and the body of the `impl` blocks of each file.
fn broker_methods() -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let method = Regex::new(r"(?m)^    (?:pub(?:\([^)]*\))? )?(?:const )?fn (\w+)").expect("one");
    let (mut methods, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for source in sources("src/broker") {
        let body = broker_blocks(&source.code());
        for found in method.captures_iter(&body) {
            methods.insert(found[1].to_owned(), source.path.clone());
        }
        if !body.is_empty() {
            bodies.insert(source.path, body);
        }
    }
    (methods, bodies)
}

#[test]
fn the_methods_of_the_broker_become_fewer() {
    let (methods, bodies) = broker_methods();
    println!("{} methods of Broker", methods.len());
    assert!(!bodies.is_empty(), "the sources were not found");
    assert!(methods.len() <= MOST_METHODS_OF_BROKER, "{}", methods.len());
}

#[test]
fn the_files_of_the_broker_have_no_circles_of_calls() {
    let call = Regex::new(r"\b(?:self|broker|Broker|Self)\s*(?:\.|::)\s*(\w+)\(").expect("one");
    let (methods, bodies) = broker_methods();
    let calls = bodies.iter().map(|(path, body)| {
        let called = call
            .captures_iter(body)
            .filter_map(|found| methods.get(&found[1]));
        let others = called.filter(|file| *file != path).cloned();
        (path.clone(), others.collect())
    });
    let graph: Graph = calls.collect();
    let circle = in_circles(&graph);
    assert!(circle.is_empty(), "{circle:?}");
}

/// The file or folder of a layer that a source file belongs to; none for the layer's own `mod.rs`.
fn module(source: &Source) -> Option<String> {
    let inside = source.path.strip_prefix("src/")?.split_once('/')?.1;
    let name = inside.split(['/', '.']).next()?;
    (name != "mod").then(|| name.to_owned())
}

/// All paths that a tree of `use` names: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn paths_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let paths = parts.into_iter().flat_map(paths_of);
    paths.map(|path| format!("{prefix}{path}")).collect()
}

/// The modules of its own layer that a file names.
fn uses(source: &Source) -> BTreeSet<String> {
    let import = Regex::new(r"\buse ([^;]+);").expect("a pattern");
    let path = Regex::new(r"\b(?:crate|super)(?:::\w+)+").expect("a pattern");
    let code = source.code();
    let imports = import
        .captures_iter(&code)
        .flat_map(|found| paths_of(&found[1]));
    let mut named: Vec<String> = imports.collect();
    let rest = import.replace_all(&code, "");
    named.extend(path.find_iter(&rest).map(|found| found.as_str().to_owned()));

    let inside = source.path.strip_prefix("src/").expect("it is there");
    let own: Vec<&str> = inside
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .split('/')
        .collect();
    let absolute = named.iter().filter_map(|path| {
        let mut parts: Vec<&str> = path.split("::").collect();
        if parts[0] == "crate" {
            return Some(parts.split_off(1));
        }
        let ups = parts.iter().take_while(|part| **part == "super").count();
        let base = own.get(..own.len().checked_sub(ups)?)?;
        (ups > 0).then(|| [base, &parts[ups..]].concat())
    });
    absolute
        .filter(|path| path.len() > 1 && path[0] == source.layer())
        .map(|path| path[1].to_owned())
        .collect()
}

#[test]
fn the_layers_have_no_new_circles_of_modules() {
    let mut layers: BTreeMap<String, Graph> = BTreeMap::new();
    for source in sources("src") {
        if let Some(module) = module(&source) {
            let graph = layers.entry(source.layer().to_owned()).or_default();
            let others = uses(&source).into_iter().filter(|other| *other != module);
            let others: Vec<String> = others.collect();
            graph.entry(module).or_default().extend(others);
        }
    }
    assert!(layers.len() > 5, "the sources were not found");
    for (layer, graph) in &layers {
        let circle = in_circles(graph);
        if !circle.is_empty() {
            println!(
                "{layer}: {} in circles: {}",
                circle.len(),
                circle.join(", ")
            );
        }
        let bound = MOST_MODULES_IN_CIRCLES
            .iter()
            .find(|(name, _)| name == layer)
            .map_or(0, |(_, most)| *most);
        assert!(circle.len() <= bound, "{layer}: {circle:?}");
    }
}
