"""Job files that ask for more than there is: references, recipes, defaults or patterns multiply a few files.

Each function returns the files of one job by name, with `room` bytes or less in the largest.
"""

from random import Random

T = "target: 'os:getpid'"


def _listed(items):
    return f"[{', '.join(map(str, items))}]"


def references(room: int, random: Random) -> dict[str, str]:
    """A long param in many places, or many times in one."""
    long = "x" * (room // 2)
    count = max(room // 200, 4)
    place = random.choice(["args: ['y${params.b}']", "tags: ['y${params.b}']", "kwargs: {'y${params.b}': 1}"])
    match random.randrange(4):
        case 0:
            tasks = "".join(f"- {{name: t{n}, {T}, {place}}}\n" for n in range(count))
            return {"job.yaml": f"params: {{b: {long}}}\ntasks:\n{tasks}"}
        case 1:
            text = "${params.b}" * (room // 30)
            return {"job.yaml": f"params: {{b: {long}}}\ntasks: [{{{T}, args: ['{text}']}}]\n"}
        case 2:
            env = ", ".join(f"V{n}: 'y${{params.b}}'" for n in range(room // 60))
            return {"job.yaml": f"params: {{b: {long}}}\nenv: {{{env}}}\ntasks: [{{{T}}}]\n"}
        case _:
            items = _listed(range(room // 20))
            tasks = "".join(f"- {{{T}, tags: '${{params.l}}'}}\n" for n in range(count))
            return {
                "job.yaml": f"params: {{l: {items.replace('[', '[a').replace(', ', ', a')}}}\ntasks:\n{tasks}"
            }


def recipes(room: int, random: Random) -> dict[str, str]:
    """Recipes that double a value, or use the next one twice or for each of a list, or are long, or deep."""
    depth = random.choice([25, 41, 60, 300])
    last = {f"r{depth}.yaml": f"params: {{v: a}}\ntasks: [{{{T}, args: ['${{params.v}}'], foreach: []}}]\n"}
    shape = random.choice(["double", "twice", "list", "late", "long"])
    if shape == "long":
        rest = _listed(range(room // 10))
        long = f"params: {{v: a}}\ntasks: [{{{T}, args: ['${{params.v}}', {rest}]}}]\n"
        users = "".join(f"- {{name: u{n}, uses: long.yaml}}\n" for n in range(500))
        return {"job.yaml": f"tasks:\n{users}", "long.yaml": long}
    files = {}
    for n in range(depth):
        head, use = "params: {v: a, l: [1, 2, 3, 4, 5, 6, 7, 8]}\n", f"uses: r{n + 1}.yaml"
        one = f"{{name: a, {use}, with: {{v: '${{params.v}}${{params.v}}'}}}}"
        if shape == "twice":
            one = f"{{name: a, {use}}}, {{name: b, {use}}}"
        elif shape == "list":
            one = f"{{name: a, {use}, foreach: '${{params.l}}'}}"
        files[f"r{n}.yaml"] = f"{head}tasks: [{one}]\n"
    value = "'${tasks.s.result}'" if shape == "late" else "xxxxxxxxxxxxxxxx"
    files["job.yaml"] = f"tasks: [{{name: s, {T}}}, {{name: u, uses: r0.yaml, with: {{v: {value}}}}}]\n"
    return {**files, **last}


def defaults(room: int, random: Random) -> dict[str, str]:
    """Large defaults or variables of a job, for many tasks."""
    names = [f"V{n}" for n in range(room // 20)]
    own = random.choice(["", ", env: {A: b}", ", args: ['${env.V1}']"])
    tasks = f"tasks:\n{f'- {{{T}{own}}}' + chr(10)}" + f"- {{{T}{own}}}\n" * (room // 60)
    match random.randrange(5):
        case 0:
            return {"job.yaml": f"defaults:\n  env: {{{', '.join(f'{name}: a' for name in names)}}}\n{tasks}"}
        case 1:
            return {"job.yaml": f"env: {{{', '.join(f'{name}: a' for name in names)}}}\n{tasks}"}
        case 2:
            return {"job.yaml": "defaults:\n" + "".join(f"  x-{name}: a\n" for name in names) + tasks}
        case 3:
            return {"job.yaml": f"defaults: {{args: {_listed(names)}}}\n{tasks}"}
        case _:
            needs = _listed(f"Process-{n + 1}" for n in range(room // 60))
            return {"job.yaml": f"defaults: {{depends_on: {needs}}}\n{tasks}"}


def excludes(room: int, random: Random) -> dict[str, str]:
    """A matrix whose combinations are compared with many entries, or that has many columns."""
    size = max(int((room // 40) ** 0.5), 4)
    values = _listed(range(size))
    match random.randrange(4):
        case 0:
            entries = _listed(f"{{a: {n}, b: {other}}}" for n in range(size) for other in range(size))
            matrix = f"{{a: {values}, b: {values}, exclude: {entries}}}"
        case 1:
            entries = [f"{{a: {n}}}" for n in range(size)] + [
                "{b: 1}",
                "{c: 1}",
                "{a: 1, b: 1}",
                "{b: 1, c: 1}",
            ]
            matrix = f"{{a: {values}, b: {values}, c: {_listed(range(20))}, exclude: {_listed(entries)}}}"
        case 2:
            columns = _listed(f"{{c{n}: 1}}" for n in range(room // 20))
            matrix = f"{{a: [1, 2], include: {columns}}}"
        case _:
            entries = _listed(f"{{a: {{m: {n}, b: *b}}}}" for n in range(size // 4))
            maps = _listed(f"{{n: {n}, b: *b}}" for n in range(size // 4))
            shared = f"{{{', '.join(f'k{n}: {n}' for n in range(size))}}}"
            task = f"{{name: t, {T}, matrix: {{a: {maps}, exclude: {entries}}}}}"
            return {"job.yaml": f"x-b: &b {shared}\ntasks: [{task}]\n"}
    return {"job.yaml": f"tasks: [{{name: t, {T}, matrix: {matrix}}}]\n"}


def joins(room: int, random: Random) -> dict[str, str]:
    """A pattern for each of many tasks, in the join order or in dependencies."""
    count = max(room // 100, 4)
    if random.random() < 0.5:
        tasks = "".join(f"- {{name: t{n}x, {T}}}\n" for n in range(count))
        patterns = _listed(f"'*t{n}x*'" for n in range(count))
        return {"job.yaml": f"tasks:\n{tasks}join: {patterns}\n"}
    need = random.choice(["*u{n}y*", "?{n}y", "u{n}y*"])
    tasks = "".join(
        f"- {{name: t{n}x, {T}, depends_on: '{need.format(n=n)}'}}\n- {{name: u{n}y, {T}}}\n"
        for n in range(count // 2)
    )
    return {"job.yaml": f"tasks:\n{tasks}"}


def lists(room: int, random: Random) -> dict[str, str]:
    """A list in many places of a value, or recipes that each give the next one twice their list."""
    if random.random() < 0.5:
        many = _listed(["'${params.l}'"] * (room // 50))
        place = random.choice([f"args: {many}", f"matrix: {{a: {many}}}", f"expect: {{result: {many}}}"])
        return {"job.yaml": f"params: {{l: {_listed(range(room // 50))}}}\ntasks: [{{{T}, {place}}}]\n"}
    files = {"job.yaml": "tasks: [{name: u, uses: r0.yaml, with: {v: [1]}}]\n"}
    for n in range(40):
        value = random.choice(["['${params.v}', '${params.v}']", "[{a: '${params.v}', b: '${params.v}'}]"])
        use = f"{{name: a, uses: r{n + 1}.yaml, with: {{v: {value}}}}}"
        files[f"r{n}.yaml"] = f"params: {{v: [a]}}\ntasks: [{use}]\n"
    return {**files, "r40.yaml": f"params: {{v: [a]}}\ntasks: [{{{T}, args: ['${{params.v}}']}}]\n"}


def patterns(room: int, random: Random) -> dict[str, str]:
    """Regular expressions that take long to compile, or to match."""
    one = random.choice(
        ["a?" * 300, "(a|b|c){1,9}" * 10, r"[\u0100-\uffff]" * 9, "(a+)+$", "(?:" * 40 + "a" + ")?" * 40]
    )
    count = max(room // (len(one) + 120), 4)
    if random.random() < 0.3:
        params = "".join(f"  p{n}: {{pattern: '{one}x{n}', default: {'a' * 40}}}\n" for n in range(count))
        return {"job.yaml": f"params:\n{params}tasks: [{{{T}}}]\n"}
    place = random.choice(["expect: {{output: '{}'}}", "daemon: true, ready: {{log: '{}'}}"])
    tasks = "".join(f"- {{{T}, {place.format(f'{one}x{n}')}}}\n" for n in range(count))
    return {"job.yaml": f"tasks:\n{tasks}"}


def variables(room: int, random: Random) -> dict[str, str]:
    """An env file, or one that is wrong, that the job or many recipes read."""
    lines = "".join(f"V{n}={random.choice(['a', '${V1}', ''])}\n" for n in range(room // 10))
    lines += random.choice(["", "=\n", "V1='\n"])
    users = "".join(f"- {{name: u{n}, uses: r.yaml}}\n" for n in range(500))
    recipe = f"env_file: many\ntasks: [{{{T}}}]\n"
    return {"job.yaml": random.choice([recipe, f"tasks:\n{users}"]), "r.yaml": recipe, "many": lines}


def mistakes(room: int, random: Random) -> dict[str, str]:
    """A mistake in each of many tasks, or in a recipe that many use; or a name that is like many others."""
    wrong = random.choice(
        [
            "nmae: x",
            "depends_on: t{n}x",
            "args: ['${{params.p{n}}}']",
            "args: ['${{tasks.t{n}x.result}}']",
            "timeout: -1",
        ]
    )
    match random.randrange(3):
        case 0:
            return {
                "job.yaml": "tasks:\n"
                + "".join(f"- {{name: t{n}, {T}, {wrong.format(n=n)}}}\n" for n in range(room // 120))
            }
        case 1:
            users = "".join(f"- {{name: u{n}, uses: r.yaml}}\n" for n in range(room // 50))
            wrong_list = _listed(f"a{n}" for n in range(room // 50))
            return {"job.yaml": f"tasks:\n{users}", "r.yaml": f"tasks: [{{{T}, nmae: {wrong_list}}}]\n"}
        case _:
            names = "".join(f"- {{name: taskname{n}, {T}}}\n" for n in range(room // 60))
            needs = _listed(f"tasknam{n}" for n in range(room // 60))
            return {"job.yaml": f"tasks:\n{names}- {{name: t, {T}, depends_on: {needs}}}\n"}


GENERATORS = (references, recipes, defaults, excludes, joins, lists, patterns, variables, mistakes)
