//! Which room of the program uses which, and what each may not know. The rooms and their floors are those
//! of the table in CONTRIBUTING.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use support::tools::file;
use syn::visit::{self, Visit};

/// A module: its crate, and its path in that.
type Module = Vec<String>;

/// What the program's own files say, tests aside.
struct House {
    /// The path of the file of each module.
    files: BTreeMap<Module, String>,
    /// What each names of others: paths that begin with a crate.
    uses: BTreeMap<Module, BTreeSet<Vec<String>>>,
    /// The rooms by their paths, and the floor of each.
    rooms: BTreeMap<String, u32>,
}

impl House {
    fn read() -> Self {
        let mut house = Self { files: BTreeMap::new(), uses: BTreeMap::new(), rooms: rooms() };
        let mut contents = BTreeMap::new();
        for (name, folder) in crates() {
            for path in rust_files(&folder).into_iter().filter(|path| !path.contains("/tests")) {
                let module = module(&name, &path[folder.len() + 1..]);
                contents.insert(module.clone(), syn::parse_file(&read(&path)).unwrap());
                house.files.insert(module, path);
            }
        }
        for (module, content) in contents {
            let mut named = Names { module: &module, files: &house.files, found: BTreeSet::new() };
            named.visit_file(&content);
            let found = named.found;
            house.uses.insert(module, found);
        }
        house
    }

    /// The modules that a module uses.
    fn modules(&self, module: &Module) -> BTreeSet<&Module> {
        let ends = |path: &Vec<String>| {
            (1..=path.len()).rev().find_map(|end| self.files.get_key_value(&path[..end]))
        };
        self.uses[module]
            .iter()
            .filter_map(ends)
            .map(|(used, _)| used)
            .filter(|used| *used != module)
            .collect()
    }

    /// The room that a module is in, and its floor.
    fn room(&self, module: &Module) -> Option<(&str, u32)> {
        let path = &self.files[module];
        let rooms =
            self.rooms.iter().filter(|(room, _)| path == *room || path.starts_with(&format!("{room}/")));
        rooms.map(|(room, floor)| (room.as_str(), *floor)).max_by_key(|(room, _)| room.len())
    }

    fn modules_in(&self, room: &str) -> impl Iterator<Item = &Module> {
        self.files.keys().filter(move |module| self.room(module).is_some_and(|(of, _)| of == room))
    }
}

/// The rooms of the table that have a floor.
fn rooms() -> BTreeMap<String, u32> {
    let contributing = read("CONTRIBUTING.md");
    let mut rooms = BTreeMap::new();
    for row in contributing.lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let Some(floor) = cells.get(1).and_then(|floor| floor.parse().ok()) else { continue };
        let links = cells[2].split("](").skip(1);
        rooms.extend(links.map(|link| (link.split(')').next().unwrap().to_owned(), floor)));
    }
    assert!(rooms.len() > 10, "CONTRIBUTING.md has no table of rooms any more");
    rooms
}

/// The crates of the program by their names, and where the files of each lie.
fn crates() -> Vec<(String, String)> {
    let rooms = rooms().into_keys().filter(|room| !room.starts_with("src/"));
    let own = ("kubernetes_oom_event_generator".to_owned(), "src".to_owned());
    rooms.map(|room| (room.clone(), format!("{room}/src"))).chain([own]).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust files of a folder and of those in it, by their paths in the repository.
fn rust_files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(file(folder)).unwrap() {
        let path = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        if file(&path).is_dir() {
            files.extend(rust_files(&path));
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that a file of a crate is.
fn module(name: &str, path: &str) -> Module {
    let path = path.trim_end_matches(".rs").split('/').filter(|part| !["mod", "lib"].contains(part));
    [name].into_iter().chain(path).map(str::to_owned).collect()
}

/// The paths that a module names.
struct Names<'a> {
    module: &'a Module,
    files: &'a BTreeMap<Module, String>,
    found: BTreeSet<Vec<String>>,
}

impl Names<'_> {
    fn add(&mut self, path: &[String]) {
        let rest = |skipped: usize| path[skipped..].iter().cloned();
        let ups = path.iter().take_while(|part| *part == "super").count();
        let child: Module = self.module.iter().chain(path.first()).cloned().collect();
        let own = |levels: usize| self.module[..self.module.len() - levels].iter().cloned();
        let whole = match path.first().map(String::as_str) {
            Some("crate") => own(self.module.len() - 1).chain(rest(1)).collect(),
            Some("self") => own(0).chain(rest(1)).collect(),
            Some("super") => own(ups.min(self.module.len() - 1)).chain(rest(ups)).collect(),
            _ if self.files.contains_key(&child) => own(0).chain(rest(0)).collect(),
            _ => path.to_vec(),
        };
        self.found.insert(whole);
    }

    fn add_tree(&mut self, begin: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [begin, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(begin, tree)),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(begin),
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|cfg| cfg.is_ident("test"))
        };
        if !module.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.asyncness.is_some() {
            self.add(&["async".to_owned()]);
        }
        visit::visit_signature(self, signature);
    }
}

/// A way that leads from somewhere back to it.
fn circle<T: Ord + Clone>(uses: &BTreeMap<T, BTreeSet<T>>) -> Option<Vec<T>> {
    fn follow<T: Ord + Clone>(
        uses: &BTreeMap<T, BTreeSet<T>>,
        way: &mut Vec<T>,
        done: &mut BTreeSet<T>,
    ) -> bool {
        let here = way.last().unwrap().clone();
        for next in uses.get(&here).into_iter().flatten() {
            let begin = way.iter().position(|before| before == next);
            way.push(next.clone());
            if let Some(begin) = begin {
                way.drain(..begin);
                return true;
            }
            if !done.contains(next) && follow(uses, way, done) {
                return true;
            }
            way.pop();
        }
        done.insert(here);
        false
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|first| {
        let mut way = vec![first.clone()];
        follow(uses, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_room_uses_one_on_a_higher_floor() {
    let house = House::read();
    for module in house.files.keys() {
        let Some((room, floor)) = house.room(module) else { continue };
        for used in house.modules(module) {
            let Some((other, above)) = house.room(used) else { continue };
            let (path, used) = (&house.files[module], &house.files[used]);
            assert!(
                above <= floor,
                "{path} (of {room}, floor {floor}) uses {used} (of {other}, floor {above})"
            );
        }
    }
}

#[test]
fn no_rooms_use_each_other() {
    let house = House::read();
    let mut uses = BTreeMap::<_, BTreeSet<_>>::new();
    for module in house.files.keys() {
        for used in house.modules(module) {
            if let (Some((room, _)), Some((other, _))) = (house.room(module), house.room(used))
                && room != other
            {
                uses.entry(room).or_default().insert(other);
            }
        }
    }
    assert_eq!(circle(&uses), None);
}

/// A module and the one that declares it may use each other: they are one thing in two files.
#[test]
fn no_files_use_each_other() {
    let house = House::read();
    let is_within = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    let uses: BTreeMap<_, BTreeSet<_>> = house
        .files
        .iter()
        .map(|(module, path)| {
            let used = house.modules(module).into_iter().filter(|used| !is_within(used, module));
            (path, used.map(|used| &house.files[used]).collect())
        })
        .collect();
    assert_eq!(circle(&uses), None);
}

#[test]
fn every_file_is_in_a_room() {
    let house = House::read();
    let outside = house.files.iter().filter(|(module, _)| house.room(module).is_none());
    let outside: Vec<_> = outside.map(|(_, path)| path).filter(|path| *path != "src/lib.rs").collect();
    assert!(outside.is_empty(), "in no room of CONTRIBUTING.md's table: {outside:?}");
}

#[test]
fn the_filter_knows_no_client_no_clock_and_no_async() {
    let house = House::read();
    let forbidden =
        ["async", "cluster", "futures", "k8s_openapi", "kube", "sinks", "tokio", "reqwest", "hyper", "http"];
    let clocks =
        [vec!["std", "time", "Instant"], vec!["std", "time", "SystemTime"], vec!["Timestamp", "now"]];
    for module in house.modules_in("src/filter") {
        for path in &house.uses[module] {
            let is_clock = clocks
                .iter()
                .any(|clock| path.starts_with(&clock.iter().map(ToString::to_string).collect::<Vec<_>>()));
            let is_forbidden = forbidden.contains(&path[0].as_str()) || is_clock;
            assert!(!is_forbidden, "{} uses {}", house.files[module], path.join("::"));
        }
    }
}

#[test]
fn the_ground_floor_depends_on_no_client_and_no_runtime() {
    for (room, _) in rooms().into_iter().filter(|(room, floor)| *floor == 1 && !room.starts_with("src")) {
        let manifest = read(&format!("{room}/Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ']).next().unwrap();
            assert!(
                !["kube", "k8s-openapi", "tokio", "reqwest", "hyper"].contains(&name),
                "{room} depends on {name}"
            );
        }
    }
}

/// The types that a file defines.
struct Types(Vec<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.0.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.0.push(item.ident.to_string());
    }
}

#[test]
fn no_type_s_name_stands_twice() {
    let others = ["benches", "examples", "tests"].map(str::to_owned);
    let folders = crates().into_iter().map(|(_, folder)| folder).chain(others);
    let mut defined = BTreeMap::<String, Vec<String>>::new();
    for path in folders.flat_map(|folder| rust_files(&folder)) {
        let mut types = Types(Vec::new());
        types.visit_file(&syn::parse_file(&read(&path)).unwrap());
        for name in types.0 {
            defined.entry(name).or_default().push(path.clone());
        }
    }
    let twice: Vec<_> = defined.into_iter().filter(|(_, paths)| paths.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
