package manifests_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const (
	monitoring = "components/monitoring"
	runbook    = "https://github.com/leasehold/leasehold/blob/main/docs/RUNBOOK.md#"
	// What the rules and the dashboard take for the name of the scrape job.
	scrapeJob = "leasehold"
)

func TestMonitoringFitsThePods(t *testing.T) {
	objs := render(t, withMonitoring(t, "overlays/dev"))
	namespace := the[*corev1.Namespace](t, objs).Name
	for _, obj := range objs {
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := obj.(*corev1.Namespace); !ok && m.GetNamespace() != namespace {
			t.Errorf("%T %s is in namespace %q, want %q", obj, m.GetName(), m.GetNamespace(), namespace)
		}
	}
	monitor := the[*monitoringv1.PodMonitor](t, objs).Spec
	pod := the[*appsv1.StatefulSet](t, objs).Spec.Template
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Selector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
		t.Errorf("the monitor selects %q (%v), the pods are %v", selector, err, pod.Labels)
	}
	if got := pod.Labels[monitor.JobLabel]; got != scrapeJob {
		t.Errorf("the scrape job is called %q by label %s, want %q", got, monitor.JobLabel, scrapeJob)
	}
	if len(monitor.PodMetricsEndpoints) != 1 {
		t.Fatalf("got %d endpoints, want 1", len(monitor.PodMetricsEndpoints))
	}
	endpoint := monitor.PodMetricsEndpoints[0]
	if endpoint.Port == nil || containerPorts(server(t, objs))[*endpoint.Port] != serverPorts["http"] || endpoint.Path != "/metrics" {
		t.Errorf("%+v is scraped, want /metrics on port http", endpoint)
	}
	board := named[*corev1.ConfigMap](t, objs, "leasehold-dashboard")
	if board.Labels["grafana_dashboard"] != "1" || len(board.Data) != 1 || !json.Valid([]byte(board.Data["leasehold.json"])) {
		t.Errorf("Grafana would not find a dashboard in %s: labels %v, files %v", board.Name, board.Labels, slices.Collect(maps.Keys(board.Data)))
	}
}

// The base must be of use where nobody has the operator's CRDs.
func TestMonitoringIsNotInTheBase(t *testing.T) {
	for _, dir := range append(overlays(t), "base") {
		objs := render(t, dir)
		if n := len(every[*monitoringv1.PodMonitor](objs)) + len(every[*monitoringv1.PrometheusRule](objs)); n > 0 {
			t.Errorf("%s has %d objects of the Prometheus operator", dir, n)
		}
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	described := regexp.MustCompile(`(?m)^## (Leasehold\S+)$`).FindAllStringSubmatch(string(readRoot(t, "docs/RUNBOOK.md")), -1)
	var inRunbook, alerts []string
	for _, heading := range described {
		inRunbook = append(inRunbook, heading[1])
	}
	for _, rule := range rules(t) {
		alerts = append(alerts, rule.Alert)
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity is %q", rule.Alert, s)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", rule.Alert)
		}
		if got, want := rule.Annotations["runbook_url"], runbook+strings.ToLower(rule.Alert); got != want {
			t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, got, want)
		}
	}
	if !slices.Equal(inRunbook, alerts) {
		t.Errorf("the runbook has entries for\n%v\nthe alerts are\n%v", inRunbook, alerts)
	}
}

// ruleTests is what is of interest of promtool's format.
type ruleTests struct {
	Tests []struct {
		Name string `json:"name"`
		At   []struct {
			Firing []struct {
				Labels string `json:"labels"`
			} `json:"exp_samples"`
		} `json:"promql_expr_test"`
	} `json:"tests"`
}

func TestEveryAlertIsSeenFiringAndSilent(t *testing.T) {
	var cases ruleTests
	if err := yaml.Unmarshal(readMonitoring(t, "rules_test.yaml"), &cases); err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules(t) {
		seen := false
		for _, c := range cases.Tests {
			fires := 0
			for _, at := range c.At {
				for _, f := range at.Firing {
					if f.Labels == fmt.Sprintf(`{alertname=%q}`, rule.Alert) {
						fires++
					}
				}
			}
			seen = seen || fires > 0 && fires < len(c.At)
		}
		if !seen {
			t.Errorf("%s does not both fire and keep silent in any of the cases", rule.Alert)
		}
	}
}

func TestRules(t *testing.T) {
	promtool := findPromtool(t)
	dir := t.TempDir()
	spec, err := yaml.Marshal(prometheusRule(t).Spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), spec)
	write(t, filepath.Join(dir, "rules_test.yaml"), readMonitoring(t, "rules_test.yaml"))
	run(t, promtool, "check", "rules", filepath.Join(dir, "rules.yaml"))
	run(t, promtool, "test", "rules", filepath.Join(dir, "rules_test.yaml"))
}

// The dashboard's queries are parsed as if they were rules, which promtool knows how to check.
func TestDashboardQueriesParse(t *testing.T) {
	promtool := findPromtool(t)
	var recorded []monitoringv1.Rule
	for i, expr := range dashboardQueries(t) {
		recorded = append(recorded, monitoringv1.Rule{
			Record: fmt.Sprintf("query:%d", i),
			Expr:   intstr.FromString(strings.ReplaceAll(expr, "$__rate_interval", "5m")),
		})
	}
	spec, err := yaml.Marshal(monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{{Name: "dashboard", Rules: recorded}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, spec)
	run(t, promtool, "check", "rules", path)
}

// That the documented metrics exist is checked where a cluster runs: cmd/server.
func TestQueriesUseDocumentedMetrics(t *testing.T) {
	documented := map[string]bool{"up": true}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_:]+)` \\| (\\w+) ").FindAllStringSubmatch(string(readRoot(t, "docs/METRICS.md")), -1) {
		name, kind := row[1], row[2]
		if kind != "histogram" {
			documented[name] = true
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			documented[name+suffix] = true
		}
	}
	queries := dashboardQueries(t)
	for _, rule := range rules(t) {
		queries = append(queries, rule.Expr.String())
	}
	for _, expr := range queries {
		used := metricsIn(expr)
		if len(used) == 0 {
			t.Errorf("no metric in %s", expr)
		}
		for _, name := range used {
			if !documented[name] {
				t.Errorf("%s is not in docs/METRICS.md, in %s", name, expr)
			}
		}
		if strings.Count(expr, `{job="`+scrapeJob+`"`) != len(used) {
			t.Errorf("not every metric is of job %s, in %s", scrapeJob, expr)
		}
	}
}

func TestMetricsInAQuery(t *testing.T) {
	for expr, want := range map[string][]string{
		`sum by (namespace) (a_total{job="b"}) > 1`:                                               {"a_total"},
		`a{x="rate(b[5m])"} / on (c, d) group_left (e) (f offset 5m)`:                             {"a", "f"},
		`histogram_quantile(0.9, sum(rate(a_bucket{b=~"c|d"}[$__rate_interval])) by (le)) > 1e-3`: {"a_bucket"},
		`a and b unless ignoring (c) d or -e ^ 2 < bool f`:                                        {"a", "b", "d", "e", "f"},
		`count without (a) (b) == NaN or vector(1) > Inf or time() - c:d`:                         {"b", "c:d"},
		`max(a{b="\"c\" d"})`: {"a"},
	} {
		if got := metricsIn(expr); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

func TestDashboard(t *testing.T) {
	board := dashboard(t)
	ids := map[int]string{}
	for _, p := range board.Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("panels %q and %q have the same ID", p.Title, other)
		}
		ids[p.ID] = p.Title
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q has no unit", p.Title)
		}
		if p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q asks %q, want the data source that is chosen", p.Title, p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if strings.Count(target.Expr, `namespace="$namespace"`) != len(metricsIn(target.Expr)) {
				t.Errorf("panel %q does not keep to the namespace that is chosen: %s", p.Title, target.Expr)
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q asks %q, want the data source that is chosen", p.Title, target.Datasource.UID)
			}
		}
	}
	for _, name := range []string{"datasource", "namespace", "pod"} {
		if !slices.ContainsFunc(board.Templating.List, func(v variable) bool { return v.Name == name }) {
			t.Errorf("no variable %s", name)
		}
	}
}

// The parts of Grafana's model that are held against something.
type grafana struct {
	Panels     []panel `json:"panels"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Datasource  datasource `json:"datasource"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr       string     `json:"expr"`
		Datasource datasource `json:"datasource"`
	} `json:"targets"`
}

type (
	variable   struct{ Name string }
	datasource struct{ UID string }
)

func dashboard(t *testing.T) grafana {
	t.Helper()
	var board grafana
	if err := json.Unmarshal(readMonitoring(t, "dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	return board
}

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var queries []string
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard asks nothing")
	}
	return queries
}

func prometheusRule(t *testing.T) *monitoringv1.PrometheusRule {
	t.Helper()
	return the[*monitoringv1.PrometheusRule](t, decode(t, readMonitoring(t, "prometheusrule.yaml")))
}

func rules(t *testing.T) []monitoringv1.Rule {
	t.Helper()
	var all []monitoringv1.Rule
	for _, group := range prometheusRule(t).Spec.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

var (
	quoted     = regexp.MustCompile(`"(\\.|[^"\\])*"`)
	notMetrics = regexp.MustCompile(`\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word       = regexp.MustCompile(`\b[a-zA-Z_:][\w:]*\b(\s*\()?`)
	keywords   = []string{"and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "NaN", "Inf"}
)

// metricsIn names the metrics of a query: the words in it that are no label, function, keyword or duration.
func metricsIn(expr string) []string {
	expr = notMetrics.ReplaceAllString(quoted.ReplaceAllString(expr, ""), " ")
	var names []string
	for _, w := range word.FindAllString(expr, -1) {
		name := strings.TrimRight(w, " \n\t(")
		if !slices.Contains(keywords, name) && !strings.HasSuffix(w, "(") {
			names = append(names, name)
		}
	}
	return names
}

// withMonitoring is a kustomization of the overlay in dir with the component added.
func withMonitoring(t *testing.T, dir string) string {
	t.Helper()
	return withComponents(t, dir, monitoring)
}

func withComponents(t *testing.T, dir string, components ...string) string {
	t.Helper()
	outer := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(outer, here)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range components {
		paths = append(paths, filepath.Join(up, c))
	}
	write(t, filepath.Join(outer, "kustomization.yaml"), fmt.Appendf(nil, `
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: leasehold
resources: [%s]
components: [%s]
`, filepath.Join(up, dir), strings.Join(paths, ", ")))
	return outer
}

// findPromtool skips the test where there is no promtool, but not where $PROMTOOL names one.
func findPromtool(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PROMTOOL"); path != "" {
		return path
	}
	for _, name := range []string{"promtool", root("bin/promtool")} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("promtool is neither on the PATH nor in bin, and $PROMTOOL is not set: the queries are not parsed and the alerts not tried (on Debian, make promtool gets it)")
	return ""
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), command, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readMonitoring(t *testing.T, name string) []byte {
	t.Helper()
	return readRoot(t, filepath.Join("manifests", monitoring, name))
}
