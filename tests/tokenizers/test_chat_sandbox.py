"""Hostile chat templates: each ends in a clear error, in little memory, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from tfcli.errors import WorkError
from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_sandbox import SANDBOX, Limits, Sandbox, _killed_after

# Lists that share their parts: small in memory, endless in writing.
SHARED = (
    "{% set ns = namespace(x=(1,), y=(1,)) %}{% for i in range(60) %}"
    "{% set ns.x = (ns.x, ns.x) %}{% set ns.y = (ns.y, ns.y) %}{% endfor %}"
)
LARGE = "{% set large = 'a' * 9000000 %}"
KEEP = "{% set ns = namespace(kept=0) %}{% for i in range(100000) %}{% set ns.kept = [ns.kept, "
KEPT = "] %}{% endfor %}"
ALPHABET = "m" * 20_000

LIMIT = "a limit"  # whichever is met first: that is a matter of the machine
LIMITS = ("takes longer than", "of memory", "writes more than", "calls itself too deep")
REACH = "reaches for"
MESSAGE = {"role": "user", "content": "a"}

ATTACKS = {
    # loops
    "long loop": ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
    "negative loop": (
        "{% for i in range(0, 0 - 10**30, -1) %}{% endfor %}",
        "fails: Python int too large",
    ),
    "nested loops": (
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        LIMIT,
    ),
    "loops that choose nothing": (
        "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
        LIMIT,
    ),
    "loop in a filter": (
        "{% for i in range(1000) %}{{ ([1] * 1000000) | reject('number') | first }}{% endfor %}",
        LIMIT,
    ),
    "wide macro": (
        "{% macro m(n) %}{% for i in range(10) %}{{ m(n + 1) if n < 40 }}{% endfor %}{% endmacro %}"
        "{{ m(0) }}",
        LIMIT,
    ),
    "slow comparison": (
        LARGE + "{% set other = large[:-1] ~ 'b' %}{% for i in range(100000) %}"
        "{% for j in range(100000) %}{% if large == other %}{% endif %}{% endfor %}{% endfor %}",
        LIMIT,
    ),
    "chained comparisons": (
        LARGE + "{% set a = large ~ 1 %}{% set b = large ~ 1 %}{{ a" + "==b==a" * 9000 + " }}",
        LIMIT,
    ),
    # recursion
    "macro": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", LIMIT),
    "block": ("{% block a %}{{ self.a() }}{% endblock %}", LIMIT),
    "loop": ("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", LIMIT),
    "chain of filters": (
        "{% set ns = namespace(g=[1]) %}{% for i in range(5000) %}"
        "{% set ns.g = ns.g | map('abs') %}{% endfor %}{{ ns.g | list }}",
        LIMIT,
    ),
    "deep expression": ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", LIMIT),
    "deep loops": (
        "{% for a in b %}" * 50 + "{% endfor %}" * 50,
        "not valid: too many statically nested",
    ),
    "long template": ("{{ a }}" * 10_000, "longer than 60,000 characters"),
    # numbers
    "power": ("{{ 10 ** (10 ** 9) }}", LIMIT),
    "squares": (
        "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}"
        "{% endfor %}",
        LIMIT,
    ),
    "number in base 2": ("{{ ('1' * 9000000) | int(0, 2) }}", "Exceeds the limit"),
    "places": ("{{ 5 | round(-1000000000) }}", LIMIT),
    "bytes": ("{{ (1).to_bytes(1000000000, 'big') }}", LIMIT),
    # text
    "times": ("{{ 'a' * 10**9 }}", LIMIT),
    "times, folded": ("{{ 'a' * 9999999 * 9999999 }}", LIMIT),
    "times, rounded": ("{{ 'a' | round(9, 'ceil') }}", LIMIT),
    "list times": ("{{ [1] * 10**9 }}", LIMIT),
    "width": ("{{ '%1000000000d' % 1 }}", LIMIT),
    "width given": ("{{ '%*d' % (1000000000, 1) }}", LIMIT),
    "width hidden": ("{{ '%(a(b)c)1000000000d' % {'a(b)c': 1} }}", LIMIT),
    "width in a test": ("{{ '%1000000000d' is odd }}", LIMIT),
    "width in a filter": ("{{ '%1000000000d' | format(1) }}", LIMIT),
    "repeated value": ("{{ ('%(a)s' * 1000000) % {'a': 'b' * 1000} }}", LIMIT),
    "format": ("{{ '{:1000000000}'.format(1) }}", LIMIT),
    "format, nested": ("{{ '{:{w}}'.format(1, w=1000000000) }}", LIMIT),
    "ljust": ("{{ 'x'.ljust(10**9) }}", LIMIT),
    "center": ("{{ 'x' | center(1000000000) }}", LIMIT),
    "batch": ("{{ [1] | batch(1000000000, 0) | list }}", LIMIT),
    "indent": (r"{{ ('a\n' * 10000) | indent(100000) }}", LIMIT),
    "indented JSON": ("{{ [[1]] | tojson(indent=1000000000) }}", LIMIT),
    "join": ("{{ range(100000) | join('a' * 10000) }}", LIMIT),
    "join method": ("{{ ('a' * 10000).join(['b'] * 100000) }}", LIMIT),
    "replace": ("{{ ('a' * 10000) | replace('', 'b' * 10000) }}", LIMIT),
    "replace method": ("{{ ('a' * 10000).replace('a', 'b' * 10000) }}", LIMIT),
    "strip": ("{{ ('a' * 9000000).strip('b' * 900000 ~ 'a') }}", LIMIT),
    "words": ("{{ ('a(' * 4000000) | title | length }}", LIMIT),
    "sum of lists": ("{{ ([[1] * 1000] * 100000) | sum(start=[]) | length }}", LIMIT),
    "output": (
        "{% for i in range(1000) %}{% for j in range(1000) %}" + "x" * 9000 + "{% endfor %}"
        "{% endfor %}",
        LIMIT,
    ),
    "output of a macro": (
        "{% macro m() %}{% for i in range(1000) %}{% for j in range(1000) %}"
        + "x" * 9000
        + "{% endfor %}{% endfor %}{% endmacro %}{{ m() }}",
        LIMIT,
    ),
    "output of a filter": (
        LARGE + "{% set x %}{% for i in range(1000) %}{% filter default(large, true) %}"
        "{% endfilter %}{% endfor %}{% endset %}",
        LIMIT,
    ),
    # what is kept
    "kept texts": (KEEP + "'a' * 4000000 ~ i" + KEPT, LIMIT),
    "kept slices": (LARGE + KEEP + "large[i:]" + KEPT, LIMIT),
    "kept lists": (KEEP + "[" + "1," * 9000 + "]" + KEPT, LIMIT),
    "kept copies": ("{% set large = [1] * 1000000 %}" + KEEP + "large.copy()" + KEPT, LIMIT),
    "kept rows": (KEEP + "[1] | batch(100000, 0) | list" + KEPT, LIMIT),
    "kept arguments": (
        "{% macro m() %}{% set ns.kept = [ns.kept, varargs] %}{% endmacro %}"
        "{% set ns = namespace(kept=0) %}{% for i in range(100000) %}{{ m(*range(100000)) }}"
        "{% endfor %}",
        LIMIT,
    ),
    # lists that share their parts
    "shared, written": (SHARED + "{{ ns.x }}", LIMIT),
    "shared, as JSON": (SHARED + "{{ ns.x | tojson }}", LIMIT),
    "shared, as text": (SHARED + "{{ ns.x is lower }}", LIMIT),
    "shared, joined": (SHARED + "{{ 'a' ~ ns.x }}", LIMIT),
    "shared, compared": (SHARED + "{{ ns.x == ns.y }}", LIMIT),
    "shared, sorted": (SHARED + "{{ [ns.x, ns.y] | sort }}", LIMIT),
    "shared, a key": (SHARED + "{{ {ns.x: 1} }}", LIMIT),
    "shared, looked up": (SHARED + "{{ {}[ns.x] }}", LIMIT),
    "shared, got": (SHARED + "{{ {}.get(ns.x) }}", LIMIT),
    "shared texts, sorted": (
        "{% set a = 'a' * 5000000 %}{{ ([a ~ 'x', a ~ 'y'] * 50000) | sort | length }}",
        LIMIT,
    ),
    "shared texts, searched": (
        "{% set a = 'a' * 5000000 %}{{ (a ~ 'z') in ([a ~ 'y'] * 50000) }}",
        LIMIT,
    ),
    "shared texts, found": (
        "{% set a = 'a' * 5000000 %}{{ ([a ~ 'y'] * 50000).index(a ~ 'z') }}",
        LIMIT,
    ),
    "shared name": (
        f"{{% macro {ALPHABET}() %}}{{% endmacro %}}{{{{ [{ALPHABET}] * 100000 }}}}",
        LIMIT,
    ),
    # attributes
    "class": ("{{ ''.__class__ }}", f"{REACH} '__class__'"),
    "mro": ("{{ ''.__class__.__mro__ }}", f"{REACH} '__class__'"),
    "subscript": ("{{ ''['__class__'] }}", f"{REACH} '__class__'"),
    "attr": ("{{ '' | attr('__class__') }}", f"{REACH} '__class__'"),
    "map": ("{{ [''] | map(attribute='__class__') | list }}", f"{REACH} '__class__'"),
    "sort": ("{{ ['', 'a'] | sort(attribute='__class__') }}", f"{REACH} '__class__'"),
    "in a format": ("{{ '{0.__class__}'.format(1) }}", f"{REACH} '__class__'"),
    "in a mapped format": (
        "{{ '{a.__class__.__mro__}'.format_map({'a': 1}) }}",
        f"{REACH} '__class__'",
    ),
    "in an escaped format": ("{{ ('{0.__class__}' | e).format(1) }}", f"{REACH} '__class__'"),
    "globals": ("{{ cycler.__init__.__globals__ }}", f"{REACH} '__init__'"),
    "function of a macro": (
        "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
        f"{REACH} '_func'",
    ),
    "frame": ("{{ ([1] | map('abs')).gi_frame.f_back }}", f"{REACH} 'gi_frame'"),
    "context": ("{{ self._TemplateReference__context }}", REACH),
    "loop's class": ("{% for x in [1] %}{{ loop.__class__ }}{% endfor %}", REACH),
    "name of a namespace": ("{% set ns = namespace(__class__=1) %}", "those that begin with _"),
    "set in a namespace": (
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "those that begin with _",
    ),
    "append": ("{{ messages.append(1) }}", f"{REACH} 'append'"),
    "pop": ("{{ messages[0].pop('role') }}", f"{REACH} 'pop'"),
    "include": ("{% include '/etc/passwd' %}", "fails: no loader"),
    "import": ("{% import 'os' as os %}", "fails: no loader"),
    "lipsum": ("{{ lipsum(n=100000) }}", LIMIT),
    "wordwrap": ("{{ ('a-' * 1000000) | wordwrap(1) }}", LIMIT),
    # messages
    "long name": (LARGE + "{{ messages[large].x }}", "has no attribute 'aaa"),
    "long refusal": (LARGE + "{{ raise_exception(large) }}", "refuses these messages: aaa"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_a_clear_error(name):
    template, expected = ATTACKS[name]
    # Those that only a limit ends are given little, so that this takes no time.
    limits = Limits(seconds=0.1) if expected is LIMIT else Limits()
    with pytest.raises(WorkError) as error:
        render_chat(template, [MESSAGE], special_tokens={}, limits=limits)
    said = str(error.value)
    assert any(one in said for one in (LIMITS if expected is LIMIT else [expected]))
    assert said.startswith("the chat template") and len(said) < 800


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages[0].update is defined }} {{ messages.append is defined }}", "False False"),
        ("{{ 'a.b'.split('.') }} {{ 'abc'.strip('ac') }}", "['a', 'b'] b"),
        ("{{ '%s and **%d%%**' % ('a', 5) }}", "a and **5%**"),
        ("{{ {'a': [1, none]} }} {{ (1,) }} {{ missing }}|", "{'a': [1, None]} (1,) |"),
        ("{% set n | length %}abc{% endset %}{{ n + 1 }}", "4"),
        ("{% if [] | map('abs') %}true, as a generator is{% endif %}", "true, as a generator is"),
        ("{% set g = [1, 2] | map('abs') %}{{ g | list }}{{ g | list }}", "[1, 2][]"),
        (
            "{% for x in [1, 2] | map('abs') %}{{ loop.length }}{{ loop.last }} {% endfor %}",
            "2False 2True ",
        ),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% else %}none{% endfor %}", "a1"),
        (
            "{% macro m(a, b='c') %}{{ a ~ b ~ varargs ~ kwargs }}{% endmacro %}"
            "{{ m(1, 2, 3, d=4) }}",
            "12(3,){'d': 4}",
        ),
        (
            "{{ range(100000) | sum }} {{ 2 ** 64 }} {{ 7 // -2 }} {{ -7 % 3 }}",
            "4999950000 18446744073709551616 -4 2",
        ),
        ("{{ ('<b>' | e) ~ ('<i>' | safe) }} {{ ('%s' | safe) % '<' }}", "&lt;b&gt;<i> &lt;"),
        ("{{ 'x' | indent(2, true) }}{{ 'a\\nb' | indent }}", "  xa\n    b"),
        ("{{ namespace(a=1) is mapping }} {{ dict(a=1) }}", "False {'a': 1}"),
        ("{{ namespace(self=1).self }} {{ dict.fromkeys('a') }}", "1 {'a': None}"),
        # What other means of defence would refuse: it is large or odd, and harms nobody.
        ("{{ ('a ' * 4000000).split() | length }}", "4000000"),
        (r"{{ ('a\n' * 4000000).splitlines() | length }}", "4000000"),
        ("{{ strftime_now('%Y' * 100000) | length }}", "400000"),
        ("{% set n = namespace() %}{% set n.x = n %}{{ n.x.x.x is defined }}", "True"),
        ("{% autoescape true %}{{ '<' }}{% endautoescape %}", "&lt;"),
    ],
)
def test_honest_work_is_done(template, text):
    assert render_chat(template, [MESSAGE], special_tokens={}).text == text


def test_nothing_of_a_failed_rendering_stays():
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = "{% if messages[0].content == 'loop' %}" + loop + "{% endif %}fine"
    for _ in range(2):
        with pytest.raises(WorkError, match="takes longer than"):
            render_chat(
                template,
                [{**MESSAGE, "content": "loop"}],
                special_tokens={},
                limits=Limits(seconds=0.1),
            )
        assert render_chat(template, [MESSAGE], special_tokens={}).text == "fine"


# The process


@pytest.fixture
def sandbox():
    own = Sandbox()
    yield own
    own.close()


def ask(sandbox, template="{{ n }}", **values):
    return sandbox.render(template, values, datetime.now(), Limits())[0]


def worker(sandbox):
    return sandbox._process.pid


def test_one_process_renders_all_and_another_takes_over_when_it_is_gone(sandbox):
    assert [ask(sandbox, n=n) for n in range(3)] == ["0", "1", "2"]
    first = worker(sandbox)
    assert ask(sandbox, "{{ n * 2 }}", n=4) == "8"
    with pytest.raises(WorkError, match="fails"):
        ask(sandbox, "{{ n.x.y }}", n=1)
    assert worker(sandbox) == first  # an error is no reason to start again
    os.kill(first, signal.SIGKILL)
    sandbox._process.wait()
    assert ask(sandbox, n=5) == "5"
    assert worker(sandbox) != first


def test_a_worker_that_does_not_answer_is_given_up(sandbox):
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(WorkError, match=r"takes longer than 0\.1 s \|"):
        sandbox.render(loop, {}, datetime.now(), Limits(seconds=3600, wall=0.1))
    assert ask(sandbox, n=1) == "1"


def test_where_a_worker_cannot_have_a_timer_it_is_killed(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with _killed_after(idle, 0.01) as late:
        idle.communicate()
    assert idle.returncode == -signal.SIGKILL and late.is_set()


def test_threads_take_turns(sandbox):
    found = {}

    def work(n):
        found[n] = [ask(sandbox, "{{ n }}" * 1000, n=n) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [str(n) * 1000] * 20 for n in range(4)}


def test_a_forked_process_has_a_worker_of_its_own():
    ask(SANDBOX, n=1)
    child = os.fork()
    if child == 0:
        os._exit(0 if ask(SANDBOX, n=2) == "2" and SANDBOX._process else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(SANDBOX, n=3) == "3"


HOST = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_sandbox import SANDBOX
text = render_chat("{{ messages[0].content }}", [{"role": "user", "content": "hi"}],
                   special_tokens={}).text
print(json.dumps([text, SANDBOX._process.pid]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hosted(tmp_path):
    """A process that has rendered, in a folder of traps and with a secret; and its worker's id."""
    for name in ("jinja2", "json", "resource", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of this folder was run')")
    repository = Path(__file__).parents[2]
    host = subprocess.Popen(
        [sys.executable, "-P", "-c", HOST, str(repository)],
        cwd=tmp_path,
        env={**os.environ, "HF_TOKEN": "hf_secret", "PYTHONPATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    text, worker = json.loads(host.stdout.readline())
    assert text == "hi"
    yield host, worker
    host.kill()
    host.communicate()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
def test_the_worker_has_no_secrets_and_no_libraries(hosted):
    _, worker = hosted
    environ = Path(f"/proc/{worker}/environ").read_bytes()
    assert b"hf_secret" not in environ and b"HOME=" not in environ
    maps = Path(f"/proc/{worker}/maps").read_text()
    assert "markupsafe" in maps
    assert not any(name in maps for name in ("torch", "numpy", "tokenizers.abi3"))


def test_the_worker_ends_with_its_parent_however_that_ends(hosted):
    host, worker = hosted
    host.kill()
    host.wait()
    while alive(worker):
        threading.Event().wait(0.01)


def alive(pid):
    """Whether a process runs; one that is only to be waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
