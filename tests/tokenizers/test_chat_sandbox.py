"""Hostile chat templates: each ends in a clear error, in little memory, on any thread."""

import json
import subprocess
import sys

import pytest

from tfcli.errors import WorkError
from tfcli.tokenizers.chat import render_chat

MEMORY = 512 << 20  # bytes of addresses, Python and its libraries included
HANG = 120  # seconds after which the child is taken to hang

# Lists that share their parts: small in memory, endless in writing.
SHARED = (
    "{% set ns = namespace(x=(1,), y=(1,)) %}{% for i in range(60) %}"
    "{% set ns.x = (ns.x, ns.x) %}{% set ns.y = (ns.y, ns.y) %}{% endfor %}"
)
LARGE = "{% set large = 'a' * 9000000 %}"
KEEP = "{% set ns = namespace(kept=0) %}{% for i in range(100000) %}{% set ns.kept = [ns.kept, "
KEPT = "] %}{% endfor %}"
ALPHABET = "m" * 20_000

TIME = "takes longer than"
SIZE = "makes a text or list past"
MANY = "makes more text and lists"
REACH = "reaches for"

ATTACKS = {
    # loops
    "long loop": ("{% for i in range(10**9) %}{% endfor %}", "counts past 100,000"),
    "negative loop": ("{% for i in range(0, 0 - 10**30, -1) %}{% endfor %}", "counts past"),
    "nested loops": (
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        TIME,
    ),
    "loops that choose nothing": (
        "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
        TIME,
    ),
    "loop in a filter": (
        "{% for i in range(1000) %}{{ ([1] * 1000000) | reject('number') | first }}{% endfor %}",
        TIME,
    ),
    "wide macro": (
        "{% macro m(n) %}{% for i in range(10) %}{{ m(n + 1) if n < 40 }}{% endfor %}{% endmacro %}"
        "{{ m(0) }}",
        TIME,
    ),
    "slow comparison": (
        LARGE + "{% set other = large[:-1] ~ 'b' %}{% for i in range(100000) %}"
        "{% for j in range(100000) %}{% if large == other %}{% endif %}{% endfor %}{% endfor %}",
        TIME,
    ),
    "chained comparisons": (
        LARGE + "{% set a = large ~ 1 %}{% set b = large ~ 1 %}{{ a" + "==b==a" * 9000 + " }}",
        TIME,
    ),
    # recursion
    "macro": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself"),
    "block": ("{% block a %}{{ self.a() }}{% endblock %}", "calls itself"),
    "loop": ("{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}", "calls itself"),
    "chain of filters": (
        "{% set ns = namespace(g=[1]) %}{% for i in range(5000) %}"
        "{% set ns.g = ns.g | map('abs') %}{% endfor %}{{ ns.g | list }}",
        "calls itself too deep",
    ),
    "deep expression": ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "cannot be compiled"),
    "deep loops": ("{% for a in b %}" * 50 + "{% endfor %}" * 50, "more than 20 loops"),
    "long template": ("{{ a }}" * 10_000, "longer than 60,000 characters"),
    # numbers
    "power": ("{{ 10 ** (10 ** 9) }}", "10,000 bits"),
    "squares": (
        "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}"
        "{% endfor %}",
        "10,000 bits",
    ),
    "number in base 2": ("{{ ('1' * 9000000) | int(0, 2) }}", "10,000 bits"),
    "places": ("{{ 5 | round(-1000000000) }}", "rounds to more than 300"),
    "bytes": ("{{ (1).to_bytes(1000000000, 'big') }}", REACH),
    # text
    "times": ("{{ 'a' * 10**9 }}", SIZE),
    "times, folded": ("{{ 'a' * 9999999 * 9999999 }}", SIZE),
    "times, rounded": ("{{ 'a' | round(9, 'ceil') }}", "round takes a number"),
    "list times": ("{{ [1] * 10**9 }}", SIZE),
    "width": ("{{ '%1000000000d' % 1 }}", SIZE),
    "width given": ("{{ '%*d' % (1000000000, 1) }}", SIZE),
    "width hidden": ("{{ '%(a(b)c)1000000000d' % {'a(b)c': 1} }}", SIZE),
    "width in a test": ("{{ '%1000000000d' is odd }}", "takes a number"),
    "width in a filter": ("{{ '%1000000000d' | format(1) }}", SIZE),
    "repeated value": ("{{ ('%(a)s' * 1000000) % {'a': 'b' * 1000} }}", SIZE),
    "format": ("{{ '{:1000000000}'.format(1) }}", "a width past"),
    "format, nested": ("{{ '{:{w}}'.format(1, w=1000000000) }}", "a width past"),
    "ljust": ("{{ 'x'.ljust(10**9) }}", SIZE),
    "center": ("{{ 'x' | center(1000000000) }}", "a number past"),
    "batch": ("{{ [1] | batch(1000000000, 0) | list }}", "a number past"),
    "indent": (r"{{ ('a\n' * 10000) | indent(100000) }}", SIZE),
    "indented JSON": ("{{ [[1]] | tojson(indent=1000000000) }}", "indents JSON"),
    "join": ("{{ range(100000) | join('a' * 10000) }}", SIZE),
    "join method": ("{{ ('a' * 10000).join(['b'] * 100000) }}", SIZE),
    "replace": ("{{ ('a' * 10000) | replace('', 'b' * 10000) }}", SIZE),
    "replace method": ("{{ ('a' * 10000).replace('a', 'b' * 10000) }}", SIZE),
    "split": ("{{ ('a ' * 4000000).split() | length }}", "pieces"),
    "splitlines": (r"{{ ('a\n' * 4000000).splitlines() | length }}", SIZE),
    "strip": ("{{ ('a' * 9000000).strip('b' * 900000 ~ 'a') }}", "where a few are meant"),
    "words": ("{{ ('a(' * 4000000) | title | length }}", "uses title on more than"),
    "sum of lists": ("{{ ([[1] * 1000] * 100000) | sum(start=[]) | length }}", MANY),
    "date": ("{{ strftime_now('%Y' * 100000) }}", "formats the date"),
    "output": (
        "{% for i in range(1000) %}{% for j in range(1000) %}" + "x" * 9000 + "{% endfor %}"
        "{% endfor %}",
        "writes more than",
    ),
    "output of a macro": (
        "{% macro m() %}{% for i in range(1000) %}{% for j in range(1000) %}"
        + "x" * 9000
        + "{% endfor %}{% endfor %}{% endmacro %}{{ m() }}",
        MANY,
    ),
    "output of a filter": (
        LARGE + "{% set x %}{% for i in range(1000) %}{% filter default(large, true) %}"
        "{% endfilter %}{% endfor %}{% endset %}",
        MANY,
    ),
    # what is kept
    "kept texts": (KEEP + "'a' * 4000000 ~ i" + KEPT, MANY),
    "kept slices": (LARGE + KEEP + "large[i:]" + KEPT, MANY),
    "kept lists": (KEEP + "[" + "1," * 9000 + "]" + KEPT, MANY),
    "kept copies": ("{% set large = [1] * 1000000 %}" + KEEP + "large.copy()" + KEPT, SIZE),
    "kept rows": (KEEP + "[1] | batch(100000, 0) | list" + KEPT, MANY),
    "kept arguments": (
        "{% macro m() %}{% set ns.kept = [ns.kept, varargs] %}{% endmacro %}"
        "{% set ns = namespace(kept=0) %}{% for i in range(100000) %}{{ m(*range(100000)) }}"
        "{% endfor %}",
        MANY,
    ),
    # lists that share their parts
    "shared, written": (SHARED + "{{ ns.x }}", SIZE),
    "shared, as JSON": (SHARED + "{{ ns.x | tojson }}", SIZE),
    "shared, as text": (SHARED + "{{ ns.x is lower }}", SIZE),
    "shared, joined": (SHARED + "{{ 'a' ~ ns.x }}", SIZE),
    "shared, compared": (SHARED + "{{ ns.x == ns.y }}", SIZE),
    "shared, sorted": (SHARED + "{{ [ns.x, ns.y] | sort }}", SIZE),
    "shared, a key": (SHARED + "{{ {ns.x: 1} }}", SIZE),
    "shared, looked up": (SHARED + "{{ {}[ns.x] }}", SIZE),
    "shared, got": (SHARED + "{{ {}.get(ns.x) }}", SIZE),
    "shared texts, sorted": (
        "{% set a = 'a' * 5000000 %}{{ ([a ~ 'x', a ~ 'y'] * 50000) | sort | length }}",
        SIZE,
    ),
    "shared texts, searched": (
        "{% set a = 'a' * 5000000 %}{{ (a ~ 'z') in ([a ~ 'y'] * 50000) }}",
        SIZE,
    ),
    "shared texts, found": (
        "{% set a = 'a' * 5000000 %}{{ ([a ~ 'y'] * 50000).index(a ~ 'z') }}",
        SIZE,
    ),
    "shared name": (
        f"{{% macro {ALPHABET}() %}}{{% endmacro %}}{{{{ [{ALPHABET}] * 100000 }}}}",
        SIZE,
    ),
    "within itself": ("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "100 deep"),
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
    "frame": ("{{ ([1] | map('abs')).gi_frame.f_back }}", "has no attribute 'gi_frame'"),
    "context": ("{{ self._TemplateReference__context }}", REACH),
    "loop's class": ("{% for x in [1] %}{{ loop.__class__ }}{% endfor %}", REACH),
    "name of a namespace": ("{% set ns = namespace(__class__=1) %}", "those that begin with _"),
    "set in a namespace": (
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "those that begin with _",
    ),
    "append": ("{{ messages.append(1) }}", f"{REACH} 'append'"),
    "pop": ("{{ messages[0].pop('role') }}", f"{REACH} 'pop'"),
    "include": ("{% include '/etc/passwd' %}", "cannot include"),
    "import": ("{% import 'os' as os %}", "cannot include"),
    "escape": ("{% autoescape true %}{{ '<' }}{% endautoescape %}", "autoescape"),
    "lipsum": ("{{ lipsum(n=100000) }}", "'lipsum' is undefined"),
    "wordwrap": ("{{ ('a-' * 1000000) | wordwrap(1) }}", "No filter named 'wordwrap'"),
    # messages
    "long name": (LARGE + "{{ messages[large].x }}", "has no attribute 'aaa"),
    "long refusal": (LARGE + "{{ raise_exception(large) }}", "refuses these messages: aaa"),
}

CHILD = """
import json, resource, sys, threading
from tfcli.errors import WorkError
from tfcli.tokenizers.chat import render_chat
from tfcli.tokenizers.chat_limits import Limits

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
found = {}

def attack():
    for name, template in json.load(sys.stdin).items():
        try:
            found[name] = "no error: " + render_chat(
                template, [{"role": "user", "content": "a"}], special_tokens={},
                limits=Limits(seconds=0.5),
            ).text[:100]
        except WorkError as error:
            found[name] = str(error)

thread = threading.Thread(target=attack)
thread.start()
thread.join()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What each attack ends in: in one process of little memory, beside its main thread."""
    templates = {name: template for name, (template, _) in ATTACKS.items()}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(MEMORY)],
        input=json.dumps(templates),
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_a_clear_error(outcomes, name):
    said = outcomes[name]
    assert ATTACKS[name][1] in said
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
    ],
)
def test_honest_work_is_done(template, text):
    messages = [{"role": "user", "content": "hi"}]
    assert render_chat(template, messages, special_tokens={}).text == text


def test_nothing_of_a_failed_rendering_stays():
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = "{% if messages[0].content == 'loop' %}" + loop + "{% endif %}fine"
    message = {"role": "user", "content": "loop"}
    for _ in range(2):
        with pytest.raises(WorkError, match=TIME):
            render_chat(template, [message], special_tokens={})
        rendered = render_chat(template, [{**message, "content": "x"}], special_tokens={})
        assert rendered.text == "fine"
