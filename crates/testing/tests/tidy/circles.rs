//! Who names whom among the files of a crate, and where that makes a circle.
//!
//! An arrow runs from a file to the one that *defines* what a path in it names: a re-export on the
//! way is followed. `mod x;` is no arrow, and neither is a re-export, or every folder were a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

use crate::source::File;

/// Files that reach each other.
pub(crate) struct Circle {
    pub(crate) files: Vec<String>,
    /// `from -> to: the path that is named`.
    arrows: Vec<String>,
}

impl fmt::Debug for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.arrows).finish()
    }
}

type Path = Vec<String>;

/// One module: a file, seen by its names.
#[derive(Default)]
struct Module {
    defined: BTreeSet<String>,
    /// Each name that is handed on, with the path that it stands for; `*` for a whole module.
    handed_on: Vec<(String, Path)>,
    /// The paths that the file names.
    named: Vec<Path>,
}

/// Finds the circles of all crates.
pub(crate) fn circles(files: &[File]) -> Vec<Circle> {
    let mut crates: BTreeMap<&str, BTreeMap<Path, (String, Module)>> = BTreeMap::new();
    for file in files {
        let (krate, below) = file.name.split_once('/').unwrap();
        let below = below.trim_end_matches(".rs").trim_end_matches("/mod");
        let path: Path = match below {
            "lib" | "main" => Vec::new(),
            _ => below.split('/').map(str::to_owned).collect(),
        };
        let module = (file.name.clone(), Module::parse(file));
        crates.entry(krate).or_default().insert(path, module);
    }
    crates.values().flat_map(circles_of).collect()
}

fn circles_of(modules: &BTreeMap<Path, (String, Module)>) -> Vec<Circle> {
    let mut arrows: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (path, (name, module)) in modules {
        for named in &module.named {
            if let Some(target) = definition(modules, path, named, 8) {
                let target = &modules[&target].0;
                if target != name {
                    let shown = named.join("::");
                    arrows.entry(name).or_default().insert(target, shown);
                }
            }
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows
        .keys()
        .map(|from| (*from, reach(&arrows, from)))
        .collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for &file in arrows.keys().filter(|file| reaches(file, file)) {
        if seen.contains(file) {
            continue;
        }
        let members: Vec<&str> = reached[file]
            .iter()
            .copied()
            .filter(|other| reaches(other, file))
            .collect();
        seen.extend(members.iter().copied());
        let inside = members.iter().flat_map(|from| {
            arrows[from]
                .iter()
                .filter(|(to, _)| members.contains(*to))
                .map(move |(to, named)| format!("{from} -> {to}: {named}"))
        });
        found.push(Circle {
            arrows: inside.collect(),
            files: members.iter().map(|&member| member.to_owned()).collect(),
        });
    }
    found
}

fn reach<'a>(
    arrows: &BTreeMap<&'a str, BTreeMap<&'a str, String>>,
    from: &str,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for target in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*target) {
                next.push(*target);
            }
        }
    }
    reached
}

/// The module whose file defines what `named` stands for in the module `at`; `None` where it is of
/// another crate.
fn definition(
    modules: &BTreeMap<Path, (String, Module)>,
    at: &Path,
    named: &[String],
    hops: usize,
) -> Option<Path> {
    let child = |module: &Path, name: &String| {
        let path = [module.as_slice(), std::slice::from_ref(name)].concat();
        modules.contains_key(&path).then_some(path)
    };
    let mut rest = named.iter();
    let mut module = match rest.next()?.as_str() {
        "crate" => Vec::new(),
        "self" => at.clone(),
        "super" => at[..at.len().checked_sub(1)?].to_vec(),
        name => child(at, &name.to_owned())?,
    };
    for name in rest {
        if name == "super" {
            module.pop();
        } else if let Some(below) = child(&module, name) {
            module = below;
        } else {
            let handed_on = &modules.get(&module)?.1.handed_on;
            let onward = handed_on
                .iter()
                .find(|(handed, _)| handed == name)
                .map(|(_, path)| path.clone());
            let globs = handed_on.iter().filter(|(handed, _)| handed == "*");
            let mut through = globs.filter_map(|(_, path)| {
                let target = definition(modules, &module, path, hops.checked_sub(1)?)?;
                modules[&target].1.defined.contains(name).then_some(target)
            });
            if let (Some(onward), Some(hops)) = (onward, hops.checked_sub(1)) {
                return definition(modules, &module, &onward, hops);
            }
            return through.next_back().or(Some(module));
        }
    }
    Some(module)
}

impl Module {
    fn parse(file: &File) -> Self {
        let parsed =
            syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.name));
        let mut module = Self::default();
        for item in &parsed.items {
            module.visit_item(item);
            if let Some(name) = name_of(item) {
                module.defined.insert(name);
            }
        }
        module
    }

    fn take(&mut self, tree: &UseTree, before: &[String], handed_on: bool) {
        let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.take(&path.tree, &with(&path.ident), handed_on),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.take(tree, before, handed_on);
                }
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.keep("self", before.to_vec(), handed_on)
            }
            UseTree::Name(name) => self.keep(&name.ident.to_string(), with(&name.ident), handed_on),
            UseTree::Rename(rename) => {
                self.keep(&rename.rename.to_string(), with(&rename.ident), handed_on);
            }
            UseTree::Glob(_) => self.keep("*", before.to_vec(), handed_on),
        }
    }

    fn keep(&mut self, name: &str, path: Path, handed_on: bool) {
        if handed_on {
            self.handed_on.push((name.to_owned(), path));
        } else {
            self.named.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(it) => {
                let handed_on = !matches!(it.vis, Visibility::Inherited);
                self.take(&it.tree, &[], handed_on);
            }
            Item::Mod(it) if is_for_tests(&it.attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            let names = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string());
            self.named.push(names.collect());
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::Type(it) => &it.ident,
        _ => return None,
    };
    Some(name.to_string())
}
