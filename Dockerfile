# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.release=$VERSION" -o /contactsync ./cmd/contactsync

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /contactsync /contactsync
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/contactsync"]
CMD ["run", "--config", "/etc/contactsync/contactsync.yaml"]
