package eventing

import (
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// GatewayMigratedType is the type of the event that tells that a tenant's address
// leads to another gateway, which was seen to serve all its routes and limits.
// Requests that came before may still be under way on the gateway before.
const GatewayMigratedType = "dev.sluice.gateway.migrated.v1"

// GatewayMigrated is the data of GatewayMigratedType.
type GatewayMigrated struct {
	// Tenant that has moved.
	Tenant string `json:"tenant"`
	// From and To are the gateways' names.
	From string `json:"from"`
	To   string `json:"to"`
	// Since is when the address came to lead to To, in whole seconds.
	Since time.Time `json:"since"`
}

func (d GatewayMigrated) subject() string { return d.Tenant }

// NewGatewayMigrated returns the event.
func NewGatewayMigrated(d GatewayMigrated) (cloudevents.Event, error) {
	d.Since = d.Since.UTC().Truncate(time.Second)
	source := "/apis/sluice.dev/v1alpha1/tenants/" + d.Tenant
	return newEvent(GatewayMigratedType, source, d, d.From, d.To, d.Since.Unix())
}
